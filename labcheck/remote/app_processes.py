"""A program for the server that is checked: what the application's processes have in their environment, and
what they count.

It runs there as root (facts/app_processes.py says when). The secrets that it reads there are used there, and
not printed.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from labcheck.remote import procfs
from labcheck.remote.local_http import FAULTS, LocalServer, split
from labcheck.remote.log_records import record
from labcheck.remote.secrets import SHORTEST, secret_parts

PATIENCE = 5.0  # seconds for one answer
START_IS_EARLY = 1.0  # seconds, at most: it is counted from the boot, whose time has whole seconds
TAIL = 128 * 1024  # bytes of a log's end
NUMBERS = re.compile(
    r"(?m)^(app_llm_cost_usd_total|app_daily_budget_usd|app_ledger_rows_lost_total|process_start_time_seconds)"
    r"(?:\{[^}]*\})? (\S+)"
)


def environments(variable: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each process that has this variable in its environment, and all of it."""
    for process in procfs.processes():
        try:
            environment = process.environment()
        except OSError:  # it has ended meanwhile, or is closed also to root
            continue
        if environment.get(variable):
            yield process.pid, environment


def authorities(pid: int, environment: dict[str, str]) -> str | None:
    """The file of certificate authorities that this process's client believes; None for the system's."""
    if named := environment.get("SSL_CERT_FILE") or environment.get("REQUESTS_CA_BUNDLE"):
        return named
    process = procfs.Process(pid)
    program = process.working_folder() / next(iter(process.arguments()), "")
    return next(map(str, program.parent.parent.glob("lib/python3*/site-packages/certifi/cacert.pem")), None)


# ---- where errors go ---------------------------------------------------------------------------


def tracked() -> list[dict[str, Any]]:
    """Each process that has a collector in its environment, and which. The collector is not asked."""
    return [
        {"pid": pid, **named(urlsplit(environment["SENTRY_DSN"]))}
        for pid, environment in environments("SENTRY_DSN")
    ]


def taken() -> list[dict[str, Any]]:
    """The same, and what each collector says to the key, with an empty envelope, which is no event."""
    answers: dict[tuple[str, str | None], dict[str, Any]] = {}
    processes = []
    for pid, environment in environments("SENTRY_DSN"):
        key = (environment["SENTRY_DSN"], authorities(pid, environment))
        if key not in answers:
            answers[key] = ask_collector(urlsplit(key[0]), key[1])
        processes.append({"pid": pid, **answers[key]})
    return processes


def named(address: SplitResult) -> dict[str, Any]:
    """The collector and the project in an address; `error` where it is none."""
    where = {"collector": address.hostname or "", "project": address.path.rpartition("/")[2], "status": None}
    if address.scheme not in ("http", "https") or not address.hostname or not address.username:
        return where | {"error": "it is no address of a collector: https://key@host/project"}
    return where | {"error": ""}


def ask_collector(address: SplitResult, bundle: str | None) -> dict[str, Any]:
    prefix, _, project = address.path.rpartition("/")
    where = named(address)
    if where["error"] or address.hostname is None:
        return where
    headers = {
        "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client=labcheck/1, sentry_key={address.username}",
        "Content-Type": "application/x-sentry-envelope",
    }
    try:
        if address.scheme == "https":
            trusted = ssl.create_default_context(cafile=bundle)
            line: http.client.HTTPConnection = http.client.HTTPSConnection(
                address.hostname, address.port, timeout=PATIENCE, context=trusted
            )
        else:
            line = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE)
        line.request("POST", f"{prefix}/api/{project}/envelope/", b"{}\n", headers)
        return where | {"status": line.getresponse().status}
    except (OSError, http.client.HTTPException) as error:
        return where | {"error": reason(error)}


def reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "no program listens there"
    return type(error).__name__


def account_of(process: procfs.Process) -> dict[str, Any]:
    """What makes subprocess.run use the account of this process, and none of root's groups."""
    uid, gid = int(process.status("Uid")[0]), int(process.status("Gid")[0])
    return {"user": uid, "group": gid, "extra_groups": []}


def send(pid: int, command: list[str]) -> dict[str, Any]:
    """Run a command as this process would: its account, folder and environment; its Python for `python`."""
    environment = dict(environments("SENTRY_DSN"))[pid]
    process = procfs.Process(pid)
    program = process.arguments()[0]
    if command[0] == "python":
        command = [program if "python" in program else sys.executable, *command[1:]]
    try:
        completed = subprocess.run(
            command, cwd=process.working_folder(), env=environment, **account_of(process),
            timeout=90, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"status": -1, "output": type(error).__name__}
    return {"status": completed.returncode, "output": (completed.stdout + completed.stderr)[-2000:]}


def leaked(pid: int, text: str) -> list[str]:
    """The names of this process's secrets that are in the text."""
    return sorted(
        name
        for name, value in dict(environments("SENTRY_DSN"))[pid].items()
        if any(part in text for part in secret_parts(name, value) if len(part) >= SHORTEST)
    )


# ---- what was spent ----------------------------------------------------------------------------


def places(pids: set[int]) -> dict[int, str]:
    """Where each of these processes listens, as `127.0.0.1:8000`."""
    listing = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    by_pid = {}
    for line in listing.splitlines():
        for pid in pids.intersection(map(int, re.findall(r"pid=(\d+)", line))):
            by_pid[pid] = line.split()[3]
    return by_pid


def metrics_token(pid: int, environment: dict[str, str]) -> str:
    """The token that this process wants to see at /metrics, from the file that its environment names; else
    nothing. Read with the account of the process: root would read any file for it, and hand it over."""
    if not (file := environment.get("METRICS_TOKEN_FILE")):
        return ""
    try:
        process = procfs.Process(pid)
        completed = subprocess.run(
            ["head", "-c", "4096", "--", file], cwd=process.working_folder(), **account_of(process),
            timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout.strip() if completed.returncode == 0 else ""


def counted(place: str, token: str) -> dict[str, float] | None:
    """The numbers of /metrics that are about money; None where there are none."""
    try:
        with contextlib.closing(LocalServer(place)) as server:
            text = server.text("/metrics", {"Authorization": f"Bearer {token}"} if token else None)
    except FAULTS:
        return None
    numbers: dict[str, float] = {}
    for name, value in NUMBERS.findall(text):
        numbers[name] = numbers.get(name, 0.0) + float(value)
    return numbers or None


def ask(database: str, query: str) -> str:
    """What PostgreSQL answers. Raises OSError with why it does not."""
    address = urlsplit(database)
    if not address.scheme.startswith("postgres"):
        raise OSError(f"the ledger is in {address.scheme}, which is not read")
    settings = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port or 5432),
        "PGUSER": unquote(address.username or ""),
        "PGPASSWORD": unquote(address.password or ""),
        "PGDATABASE": address.path.lstrip("/"),
        "PGCONNECT_TIMEOUT": "5",
    }
    completed = subprocess.run(
        ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1"],
        input=query, env=settings, capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    if completed.returncode:
        raise OSError((completed.stderr.strip().splitlines() or ["psql said nothing"])[0])
    return completed.stdout


SUMS = """WITH used AS (SELECT asked_at, cost_usd FROM usage WHERE prompt_tokens + completion_tokens > 0),
  since AS (SELECT least(to_timestamp({last}), max(asked_at)) AS moment FROM used)
SELECT json_build_object(
  'since_first', (coalesce(sum(cost_usd) FILTER (WHERE asked_at >= to_timestamp({first})), 0))::text,
  'since_last', (coalesce(sum(cost_usd) FILTER (WHERE asked_at >= to_timestamp({last})), 0))::text,
  'calls', (SELECT count(*) FROM used, since WHERE asked_at >= moment),
  'unpriced', (SELECT count(*) FROM used, since WHERE asked_at >= moment AND coalesce(cost_usd, 0) = 0)
) FROM usage;"""
COSTS = """SELECT coalesce(json_object_agg(request_id, cost), '{{}}') FROM (
  SELECT request_id, coalesce(sum(cost_usd), 0)::text AS cost FROM usage WHERE request_id IN ({ids})
  GROUP BY request_id) AS each;"""


def logged(folder: str) -> dict[str, str]:
    """What each request cost, by the end of the log of calls: the sum of its lines, digit by digit."""
    file = Path(folder) / "metrics.log"
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - TAIL, 0))
        lines = opened.read().decode("utf-8", "replace").split("\n")[1 if opened.tell() > TAIL else 0 : -1]
    costs_of: dict[str, list[str]] = {}
    for line in lines:
        call = record(line, number=str)
        if call is None:
            continue
        cost, number = call.get("cost_usd"), call.get("request_id")
        if isinstance(number, str) and re.fullmatch(r"[\w.-]{1,64}", number):
            costs_of.setdefault(number, []).append(cost if isinstance(cost, str) else "0")
    return {number: str(sum(map(Decimal, costs))) for number, costs in list(costs_of.items())[-200:]}


def refused() -> dict[str, int]:
    """How many requests to each path were refused with 429, by the access logs that there still are."""
    count: Counter[str] = Counter()
    for folder in {environment["LOG_DIR"] for _, environment in environments("LOG_DIR")}:
        for file in sorted(Path(folder).glob("*access*.log*")):
            opened = gzip.open if file.suffix == ".gz" else open
            with contextlib.suppress(OSError, EOFError), opened(file, "rt", errors="replace") as lines:
                count.update(path for line in lines if (path := refusal(line)))
    return count


def refusal(line: str) -> str:
    """The path of a request that this line of a log says was refused with 429; else nothing."""
    if "429" not in line:
        return ""
    request = record(line)
    if request is None or 429 not in (request.get("status_code"), request.get("status")):
        return ""
    return str(request.get("path", ""))


def spent() -> dict[str, Any]:
    """What the processes count, before and after; in between what the ledger holds, and what the log says."""
    environment = dict(environments("DATABASE_URL"))
    listens = places(set(environment))
    tokens = {pid: metrics_token(pid, environment[pid]) for pid in listens}
    before = {pid: numbers for pid, place in listens.items() if (numbers := counted(place, tokens[pid]))}
    result: dict[str, Any] = {"processes": [], "ledger": None, "log": {}, "costs": {}, "error": ""}
    if not before:
        return result | {"error": "no process that has a DATABASE_URL says at /metrics what it spends"}
    databases = {environment[pid]["DATABASE_URL"] for pid in before}
    folders = {environment[pid]["LOG_DIR"] for pid in before if environment[pid].get("LOG_DIR")}
    starts = [numbers.get("process_start_time_seconds", time.time()) for numbers in before.values()]
    last = max(starts) + START_IS_EARLY
    if len(databases) > 1:
        return result | {"error": "the processes do not share one ledger"}
    database = databases.pop()
    try:
        for folder in sorted(folders):
            result["log"] |= logged(folder)
        result["ledger"] = json.loads(ask(database, SUMS.format(first=min(starts), last=last)))
        if result["log"]:
            ids = ", ".join(f"'{number}'" for number in result["log"])
            result["costs"] = json.loads(ask(database, COSTS.format(ids=ids)))
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        result["error"] = f"the ledger or the log cannot be read: {error}"
    for pid in before:
        result["processes"].append(
            {
                "pid": pid,
                "port": split(listens[pid])[1],
                "before": before[pid],
                "after": counted(listens[pid], tokens[pid]) or before[pid],
            }
        )
    return result


def question(path: str, message: str, number: str) -> dict[str, Any]:
    """Ask the application one question, as one of its users, and see where its cost turns up."""
    environment = dict(environments("DATABASE_URL"))
    listens = places(set(environment))
    tokens = {pid: metrics_token(pid, environment[pid]) for pid in listens}
    pid, before = next(
        (pid, numbers) for pid, place in listens.items() if (numbers := counted(place, tokens[pid]))
    )
    key = environment[pid].get("API_KEYS", "").split(",")[0].rpartition(":")[2]
    headers = {"Content-Type": "application/json", "X-Request-ID": number}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    with contextlib.closing(LocalServer(listens[pid], timeout=60)) as server:
        status, _ = server.ask("POST", path, json.dumps({"message": message}), headers)
    time.sleep(0.5)  # its line is written when the answer has left
    after = counted(listens[pid], tokens[pid]) or {}
    spending = spent()
    name = "app_llm_cost_usd_total"
    return {
        "status": status,
        "metric": after.get(name, 0.0) - before.get(name, 0.0),
        "ledger": spending["costs"].get(number),
        "log": spending["log"].get(number),
        "error": spending["error"],
    }


def main(function: str, *arguments: Any) -> None:
    """Print as JSON what this function finds out."""
    functions: dict[str, Callable[..., object]] = {
        "tracked": tracked,
        "taken": taken,
        "refused": refused,
        "send": send,
        "leaked": leaked,
        "spent": spent,
        "question": question,
    }
    print(json.dumps(functions[function](*arguments)))
