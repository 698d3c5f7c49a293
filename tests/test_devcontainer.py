"""The workspace that a browser opens: what it says fits the format, and what this project has and does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from labcheck.wait import wait_until

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".devcontainer"

# Of the properties in the reference of dev containers, those that make sense here.
# To the programs that read the file a misspelled name is no error: it does nothing.
PROPERTIES = {
    "name", "image", "build", "features", "hostRequirements", "containerEnv", "remoteEnv", "remoteUser",
    "forwardPorts", "portsAttributes", "otherPortsAttributes", "privileged", "mounts", "runArgs",
    "onCreateCommand", "updateContentCommand", "postCreateCommand", "postStartCommand", "postAttachCommand",
    "waitFor", "customizations",
}  # fmt: skip
PORT_PROPERTIES = {"label", "protocol", "onAutoForward", "requireLocalPort", "elevateIfNeeded"}
ON_FORWARD = {"notify", "openBrowser", "openBrowserOnce", "openPreview", "silent", "ignore"}

Mapping = dict[str, Any]


def text(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def load(source: str) -> Mapping:
    """JSON with comments on lines of their own and no trailing commas: what every reader of it accepts."""
    loaded: Mapping = json.loads(re.sub(r"^\s*//.*$", "", source, flags=re.M))
    return loaded


def problems(config: Mapping) -> list[str]:
    """What the format has no such name or value for."""
    faults = [f"no property {name}" for name in config.keys() - PROPERTIES]
    faults += ["no image to begin with"] if "image" not in config and "build" not in config else []
    for name, value in config.get("hostRequirements", {}).items():
        fits = isinstance(value, int) if name == "cpus" else re.fullmatch(r"\d+[tgmk]b", str(value))
        if name not in ("cpus", "memory", "storage") or not fits:
            faults.append(f"no requirement {name}={value}")
    for port in (*config.get("portsAttributes", {}).values(), config.get("otherPortsAttributes", {})):
        faults += [f"no property {name} of a port" for name in port.keys() - PORT_PROPERTIES]
        if port.get("onAutoForward", "notify") not in ON_FORWARD:
            faults.append(f"no onAutoForward {port['onAutoForward']}")
    for feature in config.get("features", {}):
        if not re.fullmatch(r"[\w.-]+/[\w./-]+:\d+(\.\d+){0,2}", feature):
            faults.append(f"{feature} has no version")
    return faults


CONFIG = load(text(".devcontainer", "devcontainer.json"))


def test_the_workspace_fits_the_format() -> None:
    assert problems(CONFIG) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"postCreateComand": "true"},
        {"hostRequirements": {"memory": "8 GB"}},
        {"hostRequirements": {"cpu": 2}},
        {"portsAttributes": {"8888": {"onAutoForward": "open"}}},
        {"otherPortsAttributes": {"lable": "x"}},
        {"features": {"registry.example/docker-in-docker": {}}},
    ],
    ids=str,
)
def test_misspelled_properties_are_found(wrong: Mapping) -> None:
    assert len(problems({**CONFIG, **wrong})) == 1


def test_the_lab_is_a_container_there() -> None:
    """The workspace runs no virtual machines; it may have a Docker of its own, on a volume."""
    assert CONFIG["containerEnv"]["LAB_PROVIDER"] == "docker"
    assert CONFIG["privileged"] is True
    assert any("target=/var/lib/docker,type=volume" in mount for mount in CONFIG["mounts"])


def test_the_port_of_jupyterlab_is_forwarded_and_no_other() -> None:
    default = re.search(r'environ\.get\("PORT", "(\d+)"\)', text("vagrant", "host", "jupyter.py"))
    assert default and CONFIG["forwardPorts"] == [int(default[1])]
    assert CONFIG["otherPortsAttributes"]["onAutoForward"] == "ignore"


def test_the_workspace_is_a_system_that_packages_vagrant_and_a_python_that_the_lab_takes() -> None:
    """Debian 12: Python 3.11."""
    limits = re.findall(r"^OLDEST = \((\d+), (\d+)\)", text("vagrant", "lab.py"), re.M)
    assert re.search(r"(?m)^FROM debian:12$", text(".devcontainer", CONFIG["build"]["dockerfile"]))
    assert [tuple(map(int, each)) for each in limits] == [(3, 11)]


def test_the_workspace_prepares_the_lab_without_opening_it() -> None:
    steps = [*CONFIG["onCreateCommand"].split(" && "), *CONFIG["postStartCommand"].split(" && ")]
    assert steps[-1] == "OPEN=no python3 vagrant/lab.py lab"
    assert all(os.access(ROOT / step, os.X_OK) for step in steps[:-1])
    assert "make lab" in CONFIG["postAttachCommand"]


# ---- JupyterLab behind a forwarded port ----

NAME = "octo-cat-8888.app.github.dev"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


Ask = Callable[[str, str], int]


@contextmanager
def jupyter(home: Path) -> Iterator[Ask]:
    """Jupyter's server in this home folder; asks as a page does that was opened by its link.

    A page is known by its cookie from then on, and only then its origin is looked at.
    """
    port = free_port()
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root",
               "--ServerApp.ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
               f"--ServerApp.root_dir={home}"]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER_")}
    env |= {"HOME": str(home), "JUPYTER_TOKEN": "token"}

    def request(path: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            cookies = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]
            return answer.status, "; ".join(cookies)
        finally:
            connection.close()

    def listens() -> bool:
        assert server.poll() is None, (home / "log").read_text(encoding="utf-8")
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    def ask(host: str, origin: str) -> int:
        status, cookies = request("/api/status?token=token", {"Host": host})
        if status != 200:
            return status
        return request("/api/status", {"Host": host, "Origin": origin, "Cookie": cookies})[0]

    with (
        (home / "log").open("w") as log,
        subprocess.Popen(command, env=env, stdout=log, stderr=log) as server,
    ):
        try:
            wait_until(listens, what=f"port {port} of Jupyter", timeout=300, every=0.1)
            yield ask
        finally:
            server.terminate()


def let_answer(home: Path, **env: str) -> None:
    program = FOLDER / "allow-forwarded-page"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CODESPACE", "PORT"))}
    subprocess.run([program], env={**clean, "HOME": str(home), **env}, check=True, capture_output=True)


@pytest.mark.skipif(os.name != "posix", reason="a workspace is Linux")
def test_jupyter_answers_its_own_page_behind_the_forwarded_port_and_no_other(tmp_path: Path) -> None:
    let_answer(tmp_path, CODESPACE_NAME="octo-cat", GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN="app.github.dev")
    with jupyter(tmp_path) as ask:
        assert ask("localhost:8888", f"https://{NAME}") == 200
        assert ask(NAME, f"https://{NAME}") == 200
        assert ask("localhost:8888", "https://other-8888.app.github.dev") in (403, 404)
        assert ask("other.example", "https://other.example") == 403


@pytest.mark.skipif(os.name != "posix", reason="a workspace is Linux")
def test_jupyter_is_left_alone_on_a_computer_of_ones_own(tmp_path: Path) -> None:
    let_answer(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with jupyter(tmp_path) as ask:
        assert ask("localhost:8888", f"https://{NAME}") in (403, 404)
