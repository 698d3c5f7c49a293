"""JupyterLab with the chapters, in the foreground."""

from __future__ import annotations

import json
import os
import secrets

from . import chapters, subprocesses, tools
from .bring_up import Lab
from .progress import Problem, line
from .settings import CHECKOUT

ANNOUNCEMENTS = "@jupyterlab/apputils-extension:announcements"


def run(lab: Lab, port: int) -> int:
    """JupyterLab in the foreground, on 127.0.0.1 alone, until Ctrl-C."""
    token = secrets.token_hex(24)
    start = "notebooks/00_start_here.ipynb"
    command = [str(lab.environment.python), "-m", "jupyterlab", "-y",
               "--ServerApp.ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={CHECKOUT}", "--log-level=WARN",
               "--LabApp.extension_manager=readonly",
               f"--LabApp.default_url=/lab/tree/{start}"]  # fmt: skip
    if tools.is_root():
        command.append("--allow-root")
    # Nothing is asked of the internet, and no question stands before the first chapter.
    quiet = lab.machine.folder / "jupyter" / "labconfig" / "page_config.json"
    quiet.parent.mkdir(parents=True, exist_ok=True)
    quiet.write_text(json.dumps({"disabledExtensions": {ANNOUNCEMENTS: True}}) + "\n", encoding="utf-8")
    line()
    line(f"JupyterLab: http://127.0.0.1:{port}/lab/tree/{start}?token={token}")
    line("Ctrl-C ends JupyterLab; the server goes on, and make stop switches it off.")
    own = os.pathsep.join([str(quiet.parents[1]), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])])
    env = {"JUPYTER_TOKEN": token, "JUPYTER_CONFIG_PATH": own, **chapters.context(lab.machine)}
    return subprocesses.foreground(command, env=env, cwd=CHECKOUT)


def chosen_port() -> int | None:
    """The port for JupyterLab, or None where it is not to be started."""
    if os.environ.get("OPEN", "yes").lower() in ("no", "0", "false"):
        return None
    text = os.environ.get("PORT", "8888")
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise Problem(f"PORT={text} is no port", "give a number from 1024 to 65535: make lab PORT=8889")
    return int(text)
