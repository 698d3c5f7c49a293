"""Which service of systemd a process belongs to, by its control group."""

from __future__ import annotations

import pytest

from labcheck.facts.processes import parse_processes
from labcheck.result import Result


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("0::/system.slice/web.service", "web.service"),
        ("1:name=systemd:/system.slice/web.service/worker", "web.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", ""),
        ("4:memory:/system.slice/web.service", ""),
    ],
)
def test_process_is_known_with_its_systemd_service(line: str, unit: str) -> None:
    fields = ["Name", "PPid", "Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapAmb", "NSpid"]
    status = "\n".join(f"/proc/1/status:{name}:\t0" for name in fields)
    text = f"== status\n{status}\n== units\n/proc/1/cgroup:{line}\n== arguments\n1 init\n== end\n"
    (process,) = parse_processes(Result(text, "", 0)).all
    assert process.unit == unit
