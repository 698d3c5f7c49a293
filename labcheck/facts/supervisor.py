"""Facts about Supervisor: what the running supervisord has loaded, and what its files say."""

from __future__ import annotations

import configparser
import xmlrpc.client
from dataclasses import dataclass
from typing import Any
from xml.parsers.expat import ExpatError

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import Result


@dataclass(frozen=True)
class Program:
    """A program as the running supervisord has it."""

    group: str
    name: str
    state: str  # RUNNING, STOPPED, STARTING, BACKOFF, EXITED, FATAL, …
    pid: int
    autostart: bool
    kills_group: bool
    says: str  # Supervisor's own description: "pid 812, uptime 0:01:02", "Exited too quickly (…)", …

    @property
    def full_name(self) -> str:
        return f"{self.group}:{self.name}" if self.group != self.name else self.name


@dataclass(frozen=True)
class Supervisor:
    """`running` False: nothing answers on supervisord's socket."""

    running: bool
    state: str
    programs: tuple[Program, ...]


def parse_supervisor(result: Result) -> Supervisor:
    text = result.stdout.strip()
    if text == "absent":
        return Supervisor(False, "not running", ())
    if result.exit_status != 0:
        said = last_line(result.stderr)
        raise Unreadable(f"supervisord's socket could not be asked: {said}")
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    status = head.split("\n")[0].split()
    if status[1:2] == ["401"]:
        raise Unreadable("supervisord's socket asks for a name and a password")
    try:
        answers: Any = xmlrpc.client.loads(body)[0][0]
        # Supervisor's multicall gives bare values, not lists of one as others do.
        state, processes, configs = answers
        loaded = {(item["group"], item["name"]): item for item in configs}
        programs = tuple(_program(item, loaded.get((item["group"], item["name"]), {})) for item in processes)
        return Supervisor(True, str(state["statename"]), programs)
    except (xmlrpc.client.Error, ExpatError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Unreadable(f"supervisord's answer is not understood ({type(error).__name__})") from None


def _program(process: dict[str, Any], config: dict[str, Any]) -> Program:
    return Program(
        str(process["group"]),
        str(process["name"]),
        str(process["statename"]),
        int(process["pid"]),
        bool(config.get("autostart", False)),
        bool(config.get("killasgroup", False)),
        str(process["description"]),
    )


_CALLS = xmlrpc.client.dumps(
    (
        [
            {"methodName": f"supervisor.{name}", "params": []}
            for name in ("getState", "getAllProcessInfo", "getAllConfigInfo")
        ],
    ),
    "system.multicall",
)

# supervisorctl takes most of a second to start on a slow guest; its protocol is one request on a socket.
supervisor = Fact(
    "supervisor",
    f"""if ! pgrep -x supervisord >/dev/null; then echo absent; exit 0; fi
python3 -IS -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(5)
for path in "/run/supervisor.sock", "/var/run/supervisor/supervisor.sock", "/tmp/supervisor.sock":
    try: s.connect(path)
    except FileNotFoundError: continue
    break
else: sys.exit("no socket of supervisord was found")
b = sys.argv[1].encode()
s.sendall(b"POST /RPC2 HTTP/1.0\\r\\nContent-Type: text/xml\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(b) + b)
while d := s.recv(65536): sys.stdout.buffer.write(d)
' '{_CALLS.replace("'", '"')}'""",
    parse_supervisor,
    sudo=True,
)


@dataclass(frozen=True)
class ProgramFile:
    """What the files say of a program; Supervisor's own defaults where they say nothing."""

    autorestart: str  # true, false, unexpected
    stop_as_group: bool


def parse_supervisor_files(result: Result) -> dict[str, ProgramFile]:
    """By program. The running supervisord does not report these two settings."""
    if result.exit_status not in (0, 1, 2):
        raise Unreadable(f"Supervisor's files could not be read: {result.stderr.strip()}")
    parser = configparser.RawConfigParser(
        strict=False, inline_comment_prefixes=(" ;", "\t;"), interpolation=None
    )
    try:
        parser.read_string("\n".join(line for line in result.stdout.splitlines()))
    except configparser.Error as error:
        raise Unreadable(f"Supervisor's files are not understood: {str(error).splitlines()[0]}") from None
    by_program = {}
    for section in parser.sections():
        if section.startswith("program:"):
            restart = parser.get(section, "autorestart", fallback="unexpected").strip().lower()
            restart = {
                "1": "true",
                "yes": "true",
                "on": "true",
                "0": "false",
                "no": "false",
                "off": "false",
            }.get(restart, restart)
            together = parser.get(section, "stopasgroup", fallback="false").strip().lower()
            by_program[section.removeprefix("program:")] = ProgramFile(
                restart, together in ("true", "yes", "on", "1")
            )
    return by_program


# Only the lines that are needed: an environment= line may hold secrets.
supervisor_files = Fact(
    "supervisor_files",
    r"grep -shE '^[[:space:]]*(\[|(autorestart|stopasgroup|killasgroup)[[:space:]]*=)' "
    "/etc/supervisor/supervisord.conf /etc/supervisor/conf.d/*.conf",
    parse_supervisor_files,
    sudo=True,
)
