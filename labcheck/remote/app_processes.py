"""A program for the server that is looked at: what the application's processes were told, and what they
count.

It runs there as root, with Python's standard library alone, and its source travels
(facts/app_processes.py). The secrets that it reads there are used there, and not printed.
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

PATIENCE = 5.0  # seconds for one answer
START_IS_EARLY = 1.0  # seconds, at most: it is counted from the boot, whose time has whole seconds
TAIL = 128 * 1024  # bytes of a log's end
NUMBERS = re.compile(
    r"(?m)^(app_llm_cost_usd_total|app_daily_budget_usd|app_ledger_rows_lost_total|process_start_time_seconds)"
    r"(?:\{[^}]*\})? (\S+)"
)
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|DSN|_URL$")
SHORTEST = 8  # characters of a value that can be told from an innocent word


def environments(wanted: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each process that has this variable in its environment, and all of it."""
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            entries = (folder / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # it has ended meanwhile, or is closed also to root
            continue
        found = dict(entry.split("=", 1) for entry in entries if "=" in entry)
        if found.get(wanted):
            yield int(folder.name), found


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]


def authorities(pid: int, told: dict[str, str]) -> str | None:
    """The file of certificate authorities that this process's client believes; None for the system's."""
    if named := told.get("SSL_CERT_FILE") or told.get("REQUESTS_CA_BUNDLE"):
        return named
    program = Path(f"/proc/{pid}/cwd").resolve() / next(iter(command_line(pid)), "")
    return next(map(str, program.parent.parent.glob("lib/python3*/site-packages/certifi/cacert.pem")), None)


# ---- where errors go ---------------------------------------------------------------------------


def tracked() -> list[dict[str, Any]]:
    """Each process that was told of a collector, and of which. Nobody is asked."""
    return [{"pid": pid, **named(urlsplit(told["SENTRY_DSN"]))} for pid, told in environments("SENTRY_DSN")]


def taken() -> list[dict[str, Any]]:
    """The same, and what each collector says to the key, with an empty envelope, which is no event."""
    answers: dict[tuple[str, str | None], dict[str, Any]] = {}
    found = []
    for pid, told in environments("SENTRY_DSN"):
        key = (told["SENTRY_DSN"], authorities(pid, told))
        if key not in answers:
            answers[key] = ask_collector(urlsplit(key[0]), key[1])
        found.append({"pid": pid, **answers[key]})
    return found


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
        return "nobody listens there"
    return type(error).__name__


def send(pid: int, command: list[str]) -> dict[str, Any]:
    """Run a command as this process would: its account, folder and environment; its Python for `python`."""
    told = dict(environments("SENTRY_DSN"))[pid]
    status = Path(f"/proc/{pid}/status").read_text()
    (uid, gid) = (int(re.findall(rf"(?m)^{name}:\s+(\d+)", status)[0]) for name in ("Uid", "Gid"))
    folder = Path(f"/proc/{pid}/cwd").resolve()
    program = command_line(pid)[0]
    if command[0] == "python":
        command = [program if "python" in program else sys.executable, *command[1:]]
    try:
        done = subprocess.run(
            command, cwd=folder, env=told, user=uid, group=gid, extra_groups=[], timeout=90, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"status": -1, "said": type(error).__name__}
    return {"status": done.returncode, "said": (done.stdout + done.stderr)[-2000:]}


def leaked(pid: int, text: str) -> list[str]:
    """The names of this process's secrets that are in the text."""
    told = dict(environments("SENTRY_DSN"))[pid]
    return sorted({name for name, value in told.items() if SECRET.search(name)
                   and any(part in text for part in parts(value))})  # fmt: skip


def parts(value: str) -> Iterator[str]:
    """What is secret in a value: a password or key in an address, each key of a list, or all of it."""
    if "://" in value:
        address = urlsplit(value)
        found = [address.password or "", "" if address.password else address.username or ""]
    else:
        found = [pair.rpartition(":")[2] for pair in value.split(",")]
    yield from (part for part in map(unquote, found) if len(part) >= SHORTEST)


# ---- what was spent ----------------------------------------------------------------------------


def ports(pids: set[int]) -> dict[int, tuple[str, int]]:
    """Where each of these processes listens."""
    listing = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listing.splitlines():
        host, _, port = line.split()[3].rpartition(":")
        for pid in map(int, re.findall(r"pid=(\d+)", line)):
            if pid in pids:
                host = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
                found[pid] = (host, int(port))
    return found


def counted(place: tuple[str, int]) -> dict[str, float] | None:
    """The numbers of /metrics that are about money; None where there are none."""
    line = http.client.HTTPConnection(*place, timeout=PATIENCE)
    try:
        line.request("GET", "/metrics")
        answer = line.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        line.close()
    found: dict[str, float] = {}
    for name, value in NUMBERS.findall(text) if answer.status == 200 else ():
        found[name] = found.get(name, 0.0) + float(value)
    return found or None


def ask(database: str, query: str) -> str:
    """What PostgreSQL answers. Raises OSError with why it does not."""
    address = urlsplit(database)
    if not address.scheme.startswith("postgres"):
        raise OSError(f"the ledger is in {address.scheme}, which is not looked into")
    told = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port or 5432),
        "PGUSER": unquote(address.username or ""),
        "PGPASSWORD": unquote(address.password or ""),
        "PGDATABASE": address.path.lstrip("/"),
        "PGCONNECT_TIMEOUT": "5",
    }
    done = subprocess.run(
        ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1"],
        input=query, env=told, capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or ["psql said nothing"])[0])
    return done.stdout


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
    found: dict[str, list[str]] = {}
    for line in lines:
        try:
            told = json.loads(line, parse_float=str, parse_int=str)
        except ValueError:
            continue
        cost, number = told.get("cost_usd"), told.get("request_id")
        if isinstance(number, str) and re.fullmatch(r"[\w.-]{1,64}", number):
            found.setdefault(number, []).append(cost if isinstance(cost, str) else "0")
    return {number: str(sum(map(Decimal, costs))) for number, costs in list(found.items())[-200:]}


def refused() -> dict[str, int]:
    """How many requests to each path were refused with 429, by the access logs that there still are."""
    found: Counter[str] = Counter()
    for folder in {told["LOG_DIR"] for _, told in environments("LOG_DIR")}:
        for file in sorted(Path(folder).glob("*access*.log*")):
            opened = gzip.open if file.suffix == ".gz" else open
            with contextlib.suppress(OSError, EOFError), opened(file, "rt", errors="replace") as lines:
                found.update(path for line in lines if (path := refusal(line)))
    return found


def refusal(line: str) -> str:
    """The path of a request that this line of a log says was refused with 429; else nothing."""
    if "429" not in line:
        return ""
    try:
        told = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(told, dict) or 429 not in (told.get("status_code"), told.get("status")):
        return ""
    return str(told.get("path", ""))


def spent() -> dict[str, Any]:
    """What the processes count, before and after; in between what the ledger holds, and what the log says."""
    told = dict(environments("DATABASE_URL"))
    places = ports(set(told))
    before = {pid: found for pid, place in places.items() if (found := counted(place))}
    result: dict[str, Any] = {"processes": [], "ledger": None, "log": {}, "costs": {}, "error": ""}
    if not before:
        return result | {"error": "no process that has a DATABASE_URL tells at /metrics what it spends"}
    databases = {told[pid]["DATABASE_URL"] for pid in before}
    folders = {told[pid]["LOG_DIR"] for pid in before if told[pid].get("LOG_DIR")}
    starts = [found.get("process_start_time_seconds", time.time()) for found in before.values()]
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
        after = counted(places[pid]) or before[pid]
        result["processes"].append(
            {"pid": pid, "port": places[pid][1], "before": before[pid], "after": after}
        )
    return result


def question(path: str, message: str, number: str) -> dict[str, Any]:
    """Ask the application one question, as one of its users, and see where its cost turns up."""
    told = dict(environments("DATABASE_URL"))
    places = ports(set(told))
    pid, before = next((pid, found) for pid, place in places.items() if (found := counted(place)))
    key = told[pid].get("API_KEYS", "").split(",")[0].rpartition(":")[2]
    headers = {"Content-Type": "application/json", "X-Request-ID": number}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    line = http.client.HTTPConnection(*places[pid], timeout=60)
    line.request("POST", path, json.dumps({"message": message}), headers)
    answer = line.getresponse()
    answer.read()
    time.sleep(0.5)  # its line is written when the answer has left
    after = counted(places[pid]) or {}
    seen = spent()
    name = "app_llm_cost_usd_total"
    return {
        "status": answer.status,
        "metric": after.get(name, 0.0) - before.get(name, 0.0),
        "ledger": seen["costs"].get(number),
        "log": seen["log"].get(number),
        "error": seen["error"],
    }


def main(what: str, *given: Any) -> None:
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
    print(json.dumps(functions[what](*given)))
