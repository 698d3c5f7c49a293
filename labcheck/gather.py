"""Many facts in one round trip: one script, one sudo, each fact framed, with its own time limit."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from labcheck.errors import Unreachable, Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import CUT_SHORT, TIMED_OUT, Result
from labcheck.ssh import Connection

T = TypeVar("T")

FACT_LIMIT = 4 * 1024 * 1024
"""Characters that one fact may print: what prints more than this is no fact but a dump."""


@dataclass(frozen=True)
class Observation:
    """What was seen of a server at one time. `observed[fact]` is the parsed value, or raises Unreadable.

    `results` holds what each fact printed, and `reasons` why the others have no result; both by name.
    `unreachable` is why nothing was observed at all, where no login was possible.
    """

    results: Mapping[str, Result] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    unreachable: str = ""

    def __getitem__(self, fact: Fact[T]) -> T:
        if fact.name in self.reasons:
            raise Unreadable(self.reasons[fact.name])
        if fact.name not in self.results:
            raise Unreadable(f"{fact.name} was not asked for")
        return fact.parse(self.results[fact.name])

    def __or__(self, later: Observation) -> Observation:
        """Both observations as one."""
        return Observation(
            {**self.results, **later.results}, {**self.reasons, **later.reasons}, self.unreachable
        )


def gather(connection: Connection, facts: Sequence[Fact[Any]], *, root: bool = False) -> Observation:
    """Ask the host for every fact, each once, in one round trip under one `sudo -n`. Changes nothing there.

    Where sudo is refused, facts that do not need it come all the same. Facts that do not need root are read
    as root too where sudo is there: a command that depends on the account that asks has to say so itself.
    `root`: also where none of these facts needs it, for an observation of which they are a part.
    """
    root = root or any(fact.sudo for fact in facts)
    pending = {fact.name: fact for fact in facts}
    results: dict[str, Result] = {}
    reasons: dict[str, str] = {}
    while pending:
        try:
            answer = _ask(connection, list(pending.values()), root)
        except Unreachable as problem:
            reasons |= dict.fromkeys(pending, f"{connection.host}: {problem.reason} ({problem.next})")
            if not results:
                return Observation({}, reasons, unreachable=str(problem))
            break
        results |= answer.results
        reasons |= answer.reasons
        pending = {
            name: fact for name, fact in pending.items() if name not in results and name not in reasons
        }
        if pending and not answer.flooded:
            reasons |= dict.fromkeys(pending, answer.why_missing)
            break
    return Observation(results, reasons)


@dataclass(frozen=True)
class _Answer:
    results: dict[str, Result]
    reasons: dict[str, str]
    flooded: bool
    why_missing: str


def _ask(connection: Connection, facts: Sequence[Fact[Any]], root: bool) -> _Answer:
    """One round trip."""
    nonce = secrets.token_hex(12)
    script = _script(facts, nonce)
    limit = 60 + sum(fact.timeout for fact in facts)
    why_missing = "the answer ended too early"
    try:
        answer = connection.run(reader(script, root), stdin=script, timeout=limit)
    except Unreachable as problem:
        if problem.partial is None or nonce not in problem.partial.stdout:
            raise
        answer = problem.partial
        why_missing = f"{connection.host}: {problem.reason} ({problem.next})"
    return _unframe(answer, facts, nonce, why_missing, connection.host)


def reader(script: str, sudo: bool) -> str:
    """The command line: a bash that reads exactly the script from its standard input, then runs it.

    Read by length and as a whole, so that nothing in the script can eat the rest of it, and so that a sudo
    that refuses leaves it for the second bash. Any login shell understands this line, and sudo's own log
    holds no more than this.
    """
    read = f'LC_ALL=C; export LC_ALL; IFS= read -r -N {len(script.encode())} script && eval "$script"'
    plain = f"bash --noprofile --norc -c {shlex.quote(read)}"
    return f"sudo -n {plain} || {plain}" if sudo else f"exec {plain}"


# The main shell keeps a pipe to itself: `read -t` on it is a wait with a time limit, without a process for
# it. `set -m` gives each fact its own process group, so that what hangs is ended with all its children.
_HEAD = """\
set -m +e
exec 9<> <(:)
fact() {
  local number=$1 limit=$2 command=$3 status= ended=0
  ( ( eval "$command" ) 9>&-; echo $? >&9 ) </dev/null &
  local job=$!
  read -t "$limit" -u 9 status || ended=1
  kill -KILL -- -$job 2>/dev/null
  wait $job 2>/dev/null
  # A fact that ended between the time limit and the kill must not answer for the next one.
  if [ $ended = 1 ]; then read -t 0.01 -u 9; status=124; fi
  printf '\\n%s end %s %s\\n' "$nonce" $number $status
  printf '\\n%s end %s\\n' "$nonce" $number >&2
}
"""


def _script(facts: Sequence[Fact[Any]], nonce: str) -> str:
    lines = [_HEAD, f"nonce={nonce}", "printf '\\n%s uid %s\\n' $nonce $EUID", "printf '\\n%s\\n' $nonce >&2"]
    for number, fact in enumerate(facts):
        lines.append(f"fact {number} {fact.timeout:g} {shlex.quote(fact.command)}")
    return "\n".join([*lines, "exit 0", ""])


def _unframe(answer: Result, facts: Sequence[Fact[Any]], nonce: str, why_missing: str, host: str) -> _Answer:
    """Cut the two streams at the marks, and give each fact what it printed."""
    results: dict[str, Result] = {}
    reasons: dict[str, str] = {}
    begin = re.search(rf"\n{nonce} uid (\d+)\n", answer.stdout)
    if begin is None:
        reason = last_line(answer.stderr, f"exit status {answer.exit_status}")
        if answer.exit_status == TIMED_OUT:
            reason = "it took too long to begin"
        return _Answer({}, {}, False, f"{host} could not run the commands: {reason}")
    refused = "" if begin[1] == "0" else _why_no_root(answer.stderr.partition(nonce)[0], host)
    errors = _errors(answer.stderr, nonce)
    position = begin.end()
    answered = 0
    for end in re.finditer(rf"\n{nonce} end (\d+) (\d+)\n", answer.stdout):
        number, status = int(end[1]), int(end[2])
        fact, stdout = facts[number], answer.stdout[position : end.start()]
        position, answered = end.end(), number + 1
        if fact.sudo and refused:
            reasons[fact.name] = refused
        elif len(stdout) > FACT_LIMIT:
            reasons[fact.name] = _too_much(fact)
        elif status == TIMED_OUT:
            reasons[fact.name] = f"{fact.name} took longer than {fact.timeout:g} s"
        else:
            results[fact.name] = Result(stdout, errors.get(number, ""), status)
    flooded = answer.exit_status == CUT_SHORT and answered < len(facts)
    if flooded:
        # The fact that was printing when the limit was reached; the ones after it are asked again without it.
        reasons[facts[answered].name] = _too_much(facts[answered])
    if answer.exit_status == TIMED_OUT:
        why_missing = f"{host} took too long to answer"
    return _Answer(results, reasons, flooded, why_missing)


def _errors(stderr: str, nonce: str) -> dict[int, str]:
    """What each fact wrote on standard error, by number."""
    errors: dict[int, str] = {}
    position = len(stderr.partition(f"\n{nonce}\n")[0]) + len(nonce) + 2
    for end in re.finditer(rf"\n{nonce} end (\d+)\n", stderr):
        errors[int(end[1])] = stderr[position : end.start()]
        position = end.end()
    return errors


def _too_much(fact: Fact[Any]) -> str:
    return f"{fact.name} printed more than {FACT_LIMIT // 1024 // 1024} MiB"


def _why_no_root(stderr: str, host: str) -> str:
    """The reason why the script does not run as root, in words, from what sudo printed."""
    reason = next((line for line in stderr.splitlines() if "sudo" in line), "")
    if "password is required" in reason or "terminal is required" in reason:
        return f'sudo asks for a password on "{host}" (add NOPASSWD for this account, or log in as root)'
    if "not in the sudoers" in stderr or "may not run sudo" in stderr or "not allowed" in stderr:
        return f'this account may not use sudo on "{host}" (log in with one that may)'
    if "not found" in reason:
        return f'sudo is not installed on "{host}" (log in as root)'
    return f'no root on "{host}": {reason.strip() or "sudo gave no reason"}'
