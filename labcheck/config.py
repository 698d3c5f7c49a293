"""Which server, seen from where: labcheck.toml, and what the command line says instead."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labcheck.checks.model import Context, Target
from labcheck.errors import ConfigError
from labcheck.ssh import Connection

NAME = "labcheck.toml"
VARIABLE = "LABCHECK_CONFIG"
MARKER = "/usr/local/lib/shipshape/this-is-a-lab"
"""What only a server of the lab has: whatever breaks something asks for it first."""


@dataclass(frozen=True)
class Config:
    """A labcheck.toml, read. `tool` and `machine` are there in the lab alone."""

    target: Target
    server: Connection
    vantage: Connection | None = None
    tool: tuple[str, ...] = ()
    machine: str = ""
    marker: str = MARKER

    def context(self, *, reboot: bool = False) -> Context:
        return Context(self.target, self.server, self.vantage, reboot)

    def connection(self, host: str, *, fresh: bool = False) -> Connection:
        """A host of the same ssh_config."""
        return Connection(host, config=self.server.config, fresh=fresh)


def find(start: Path | None = None) -> Path | None:
    """The file that LABCHECK_CONFIG names, else the nearest labcheck.toml from `start` upwards, else None."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    here = (start or Path.cwd()).resolve()
    return next((folder / NAME for folder in (here, *here.parents) if (folder / NAME).is_file()), None)


def load(path: Path | None = None) -> Config:
    """Read the configuration at `path`, else the one that `find` finds. Raises ConfigError."""
    path = path or find()
    if path is None:
        raise ConfigError(
            f"no {NAME} here or above: in the lab `make lab` writes it; else name a host: labcheck HOST"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ConfigError(
            f"cannot read {path}: {problem.strerror} (in the lab, `make lab` writes it)"
        ) from None
    try:
        return parse(tomllib.loads(text), path)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(f"{path} is not TOML: {problem}") from None


def parse(data: Mapping[str, Any], path: Path) -> Config:
    """The configuration in a file's tables. Raises ConfigError for what is missing, wrong or unknown."""
    target = _table(data, "target", ("host", "ssh_config", "domain", "account", "app_port"), path)
    vantage = _table(data, "vantage", ("host", "name", "reference"), path)
    chat = _table(data, "chat", ("path", "key_from"), path)
    alerts = _table(data, "alerts", ("received",), path)
    errors = _table(data, "errors", ("send", "event"), path)
    cost = _table(data, "cost", ("budget",), path)
    lab = _table(data, "lab", ("tool", "machine", "marker"), path)
    if unknown := set(data) - {"target", "vantage", "chat", "alerts", "errors", "cost", "lab"}:
        tables = "target, vantage, chat, alerts, errors, cost, lab"
        raise ConfigError(f"{path}: [{min(unknown)}] is not a table of it; those are {tables}")
    host = target.get("host")
    if not host:
        raise ConfigError(f'{path}: [target] needs host = "…", a Host of your ssh_config')
    name = target.get("ssh_config", "")
    # A relative path is meant from the file that holds it, not from wherever labcheck is called.
    config = (path.parent / Path(name).expanduser()) if name else None
    server = Connection(host, config=config)
    looked_from = vantage.get("host")
    return Config(
        target=Target(
            host=host,
            domain=target.get("domain", ""),
            account=target.get("account", "aiapp"),
            app_port=target.get("app_port", 8000),
            reference=vantage.get("reference", ""),
            vantage=vantage.get("name", looked_from or "this computer"),
            lab=bool(lab),
            chat_path=chat.get("path", "/api/chat"),
            chat_key=_secret(chat.get("key_from", ""), path),
            alerts_received=alerts.get("received", ""),
            send_error=errors.get("send", Target.send_error),
            event=errors.get("event", ""),
            budget=float(cost.get("budget", Target.budget)),
        ),
        server=server,
        vantage=Connection(looked_from, config=config) if looked_from else None,
        tool=tuple(lab.get("tool", ())),
        machine=lab.get("machine", ""),
        marker=lab.get("marker", MARKER),
    )


def _secret(variable: str, path: Path) -> str:
    """The file names an environment variable that holds the secret, and never the secret itself."""
    if variable and not os.environ.get(variable):
        raise ConfigError(f"{path}: key_from in [chat] names {variable}, which the environment does not have")
    return os.environ[variable] if variable else ""


_KINDS: Mapping[str, type] = {"app_port": int, "budget": int, "tool": list}


def _table(data: Mapping[str, Any], name: str, keys: tuple[str, ...], path: Path) -> Mapping[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} must be a table: [{name}]")
    for key, value in table.items():
        if key not in keys:
            raise ConfigError(f"{path}: [{name}] has no {key}; it has {', '.join(keys)}")
        kind = _KINDS.get(key, str)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{path}: {key} in [{name}] must be {kind.__name__}, not {value!r}")
    return table
