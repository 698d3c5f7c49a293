"""Item 3: the health endpoints answer through the proxy, quickly, and what they say is consistent."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from typing import Any

from labcheck.checks.model import Context, Item, criterion
from labcheck.errors import Unreadable
from labcheck.external import planning, probing, questions
from labcheck.external.model import HEALTH_PATHS, Fetch, Website
from labcheck.gather import gather
from labcheck.remote.external.web import BETWEEN_ATTEMPTS
from labcheck.remote.output import last_line
from labcheck.ssh import AS_ROOT, Connection
from labcheck.verdict import Finding, Verdict, failed, passed, unknown
from labcheck.wait import GaveUp, NotYet, wait_until

LIMIT = 1.0  # s: the course's contract for a health answer
ATTEMPTS = 3  # the best of so many counts
_GOOD = {"healthy", "ok", "up", "alive", "ready", "pass"}
_WEAK = {"degraded", "warn"}
_ABSENT = {"not_configured", "not configured", "disabled"}
_WHY = "the proxy, the monitoring and the person on call decide by this answer"


def json_body(fetch: Fetch) -> dict[str, Any]:
    """The body as JSON object, or {}."""
    try:
        body = json.loads(fetch.best.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def components(body: dict[str, Any]) -> dict[str, str]:
    """Each component's own word, by name."""
    part = body.get("components", body.get("checks", {}))
    if not isinstance(part, dict):
        return {}
    return {
        name: str(it.get("status", "") if isinstance(it, dict) else it).lower() for name, it in part.items()
    }


def contradiction(status: int, body: dict[str, Any]) -> str:
    """How the HTTP status, the top line and the components disagree, or ""."""
    top = str(body.get("status", "")).lower()
    if not top:
        return "the body has no status"
    if status == 200 and top not in _GOOD | _WEAK:
        return f'status 200 with the body "{top}"'
    if status == 503 and top in _GOOD | _WEAK:
        return f'status 503 with the body "{top}"'
    bad = sorted(name for name, word in components(body).items() if word not in _GOOD | _ABSENT)
    if bad and top in _GOOD:
        return f'"{top}" although {", ".join(bad)} is not'
    return ""


@criterion(site=questions.website)
def the_endpoints_answer(site: Website) -> Iterator[Finding]:
    """/health/live, /health/ready and /health: 200 within 1 s, best of three, through the proxy."""
    if not site.gets:
        why = "; ".join(f"{s.address}: {s.error}" for s in site.handshakes) or "the name has no address"
        yield failed(
            f"/health cannot be asked for over https ({why})",
            expected="/health/live, /health/ready and /health answer 200 through the proxy",
            why=_WHY,
            next="first the application, then Caddy in front of it",
        )
    for fetch in site.gets:
        yield from _one(fetch)


def _one(fetch: Fetch) -> Iterator[Finding]:
    best, body = fetch.best, json_body(fetch)
    place = f"{fetch.path} at {fetch.address}"
    expected = "200 within 1 s, and a JSON body whose status says the same"
    if best.status is None:
        yield failed(f"{place}: {best.error}", expected=expected, why=_WHY)
    elif best.status not in (200, 503):
        yield failed(
            f"{place}: status {best.status}",
            expected=expected,
            why=_WHY,
            next="502: does the application run? 404: does Caddy hand the path on?",
        )
    elif not body:
        yield failed(
            f"{place}: the body is not a JSON object",
            expected=expected,
            why="whatever answers there, it is not the application",
        )
    elif problem := contradiction(best.status, body):
        yield failed(
            f"{place}: {problem}",
            expected=expected,
            why="half of the clients go by one, half by the other",
        )
    elif best.status == 503 or str(body["status"]).lower() in _WEAK:
        bad = sorted(name for name, word in components(body).items() if word not in _GOOD | _ABSENT)
        yield failed(
            f"{place}: {body['status']} ({', '.join(bad) or 'no component named'})",
            expected="healthy",
            why=_WHY,
        )
    elif best.seconds > LIMIT:
        yield failed(
            f"{place}: slower than {LIMIT:.0f} s, three times",
            expected=expected,
            why="a monitor gives up, and takes the server out of service",
            detail=f"best of three: {best.seconds:.2f} s",
        )
    elif fetch.path == "/health" and not components(body):
        yield failed(
            f"{place}: no component is named", expected="each dependency by name, with its state", why=_WHY
        )
    else:
        names = (
            f": {', '.join(f'{n} {w}' for n, w in sorted(components(body).items()))}"
            if fetch.path == "/health"
            else ""
        )
        yield passed(f"{place}: 200, {body['status']}{names}", detail=f"{best.seconds * 1000:.0f} ms")


@criterion(site=questions.website)
def the_application_itself_answers(site: Website) -> Iterator[Finding]:
    """Each path has its own answer: one fixed text for all of them comes from the proxy."""
    for address in dict.fromkeys(fetch.address for fetch in site.gets):
        bodies = [
            fetch.best.body for fetch in site.gets if fetch.address == address and fetch.best.status == 200
        ]
        if len(bodies) == len(HEALTH_PATHS) and len(set(bodies)) == 1:
            yield failed(
                f"all health paths at {address} give the very same body",
                expected="three answers of the application",
                why="a text that the proxy recites stays green when the application is gone",
                next="take `respond` out of the Caddyfile: reverse_proxy alone",
            )


# ---- exercise ----------------------------------------------------------------------------------

HELD = 60  # s until the server itself takes a rule away, whatever becomes of us

# What the port's process has in its own environment: the account it runs as, and each address that it depends
# on.
_DEPENDENCIES = r"""set -euo pipefail
pid=$(ss -Hltnp "sport = :$PORT" | sed -n 's/.*pid=\([0-9]*\).*/\1/p' | head -1)
[[ -n $pid ]] || { echo "nothing listens on $PORT/tcp" >&2; exit 3; }
uid=$(stat -c %u "/proc/$pid")
[[ $uid != 0 ]] || { echo "the application runs as root, like everything else" >&2; exit 3; }
while IFS= read -r -d '' entry; do
  [[ $entry == [A-Z]*_URL=*://* ]] || continue
  scheme=${entry#*=} rest=${entry#*://}
  host=${rest%%[/?]*} host=${host##*@}
  case ${scheme%%:*} in
    http) port=80 ;; https) port=443 ;; postgres*) port=5432 ;; redis*) port=6379 ;; *) continue ;;
  esac
  if [[ $host =~ ^(.+):([0-9]+)$ ]]; then host=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}; fi
  host=${host#[} host=${host%]}
  echo "${entry%%=*} $host $port $uid"
done < "/proc/$pid/environ" | sort
"""

# Rules that drop what that account sends to one dependency; prints what undoes them.
_PAUSE = r"""set -euo pipefail
undo= rules=()
mapfile -t addresses < <(getent ahosts "$HOST" | cut -d' ' -f1 | sort -u)
[[ ${#addresses[@]} -gt 0 ]] || { echo "$HOST has no address" >&2; exit 3; }
for address in "${addresses[@]}"; do
  tool=iptables; if [[ $address == *:* ]]; then tool=ip6tables; fi
  rule="OUTPUT -d $address -p tcp --dport $PORT -m owner --uid-owner $UID_OF_APP"
  rule+=" -m comment --comment labcheck -j DROP"
  undo+="if $tool -C $rule; then $tool -D $rule; fi; "; rules+=("$tool -I $rule")
done
unit=labcheck-resume-$PORT
systemd-run --quiet --collect --unit="$unit" --on-active="$HELD" /bin/bash -c "$undo"
for rule in "${rules[@]}"; do $rule; done
echo "${undo}if systemctl --quiet is-active $unit.timer; then systemctl stop $unit.timer; fi"
"""


def _script(server: Connection, script: str, timeout: float = 60, **values: object) -> str:
    """What the script prints. Raises Unreadable with its last word where it fails."""
    head = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    result = server.run(AS_ROOT, stdin=head + script, timeout=timeout)
    if result.exit_status != 0:
        raise Unreadable(last_line(result.stderr, f"exit status {result.exit_status}"))
    return result.stdout


def _ill(fetch: Fetch) -> set[str]:
    """The components that an answer calls ill."""
    return {name for name, word in components(json_body(fetch)).items() if word not in _GOOD | _ABSENT}


def how_it_shows(
    name: str,
    health: Callable[[], list[Fetch]],
    *,
    timeout: float,
    every: float,
    before: Set[str] = frozenset(),
) -> tuple[Finding, set[str]]:
    """What /health says while what the variable `name` names is silent, and which components it calls ill.

    `before`: those that were ill by an earlier pause, and have to be well again. As in the read-only check,
    one late answer is chance: three are slow, and so is one where none came in time. No answer is a late one.
    """
    late, in_time = 0, 0
    ill: set[str] = set()

    def shows() -> str:
        nonlocal late, in_time, ill
        answers = health()
        if not answers or any(item.best.status is None or item.best.seconds > LIMIT for item in answers):
            late += 1
            if late < ATTEMPTS:
                raise NotYet(f"/health takes longer than {LIMIT:.0f} s")
            return "late"
        in_time += 1
        whole = [item for item in answers if item.path == "/health"]
        word = str(json_body(whole[0]).get("status", whole[0].best.status))
        if not all(
            item.best.status == 503 or json_body(item).get("status") in _WEAK | {"unhealthy"}
            for item in whole
        ):
            raise NotYet(f"/health says {word}")
        ill = set().union(*(_ill(item) for item in whole))
        if not ill - before:
            raise NotYet(f"/health still names {', '.join(sorted(ill)) or 'no component'}")
        if ill & before:
            raise NotYet(f"{', '.join(sorted(ill & before))} is not well again")
        if whole[0].best.status == 503 and any(
            item.best.status == 200 for item in answers if item.path != "/health"
        ):
            raise NotYet("/health says 503, and /health/ready still lets traffic come")
        return word

    why_not = ""
    try:
        word = wait_until(shows, what="/health to notice", timeout=timeout, every=every)
    except GaveUp as problem:
        word, why_not = "", str(problem).rpartition("last seen: ")[2]
    if late == ATTEMPTS or (late and not in_time):
        finding = failed(
            f"/health takes longer than 1 s while what {name} names is silent",
            expected="503 or degraded within 1 s",
            why="a client gives up before the answer comes",
            next="give the check of each dependency a time limit",
            detail=f"late answers: {late}",
        )
    elif not word:
        stays_well = why_not.startswith("/health says") and "503" not in why_not
        finding = failed(
            f"/health stays well although what {name} names is silent"
            if stays_well
            else f"while what {name} names is silent: {why_not}",
            expected="503 or degraded, and its component named",
            why="the failure that it is there to show does not show",
            next="make /health ask the dependency itself",
        )
    else:
        finding = passed(
            f"with what {name} names silent, /health says {word} ({', '.join(sorted(ill))}) within 1 s",
            detail=f"late answers before it: {late}" if late else "",
        )
    return finding, ill


def a_paused_dependency_shows(server: Connection, ctx: Context) -> Iterator[Finding]:
    """What the app sends to one dependency is dropped, then to the next: /health says so, each within 1 s."""
    observed = gather(server, questions.NEEDS)
    plan = planning.plan(observed, domain=ctx.domain, reference=ctx.reference)
    paths = ("/health", "/health/ready")
    plan = replace(plan, wanted=("web",), paths=paths, attempts=1, tcp=(443,), udp=())

    def health() -> list[Fetch]:
        return list(probing.ask(plan, ctx.vantage)[questions.website].gets)

    def well() -> bool:
        fetch = health()
        return bool(fetch) and all(
            item.best.status == 200 and json_body(item).get("status") in _GOOD for item in fetch
        )

    if not health():
        raise Unreadable("/health does not answer over https: there is nothing to exercise")
    if not well():
        yield unknown("/health is not well before anything was paused: see the read-only check")
        return
    printed = _script(server, _DEPENDENCIES, PORT=ctx.app_port)
    if not printed:
        raise Unreadable("the running process has no ..._URL of a dependency in its environment")
    undo, ill = "", set[str]()
    try:
        for name, host, port, uid in (line.split(" ") for line in printed.splitlines()):
            undo = _script(server, f"{undo}\n{_PAUSE}", HOST=host, PORT=port, UID_OF_APP=uid, HELD=HELD)
            finding, ill = how_it_shows(name, health, timeout=HELD - 20, every=BETWEEN_ATTEMPTS, before=ill)
            yield finding
            if finding.verdict is not Verdict.PASS:
                break  # the others would be waited for in vain
    finally:
        _script(server, undo)
    try:
        wait_until(well, what="/health to be well again", timeout=40, every=1)
        yield passed("and it is healthy again afterwards")
    except GaveUp:
        yield failed(
            "/health is not well again afterwards",
            expected="healthy, by itself",
            why="a person has to restart it by hand",
        )


ITEM = Item(
    number=3,
    title="Health checks return 200",
    short="Health checks",
    chapter="02_https_caddy",
    section="Healthy, seen from outside",
    criteria=(the_endpoints_answer, the_application_itself_answers),
    exercise=a_paused_dependency_shows,
)
