"""labcheck: the checks of the deployment checklist, on the lab's server or on your own."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from labcheck import checklist, report, runner, ssh
from labcheck.checks.model import Target
from labcheck.config import Config, load
from labcheck.errors import ConfigError
from labcheck.ssh import Connection

USAGE, INTERRUPTED = 64, 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"labcheck: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run labcheck. Exit status: 1 if anything fails, else 2 if anything could not be observed, else 0; 64
    for a wrong command line or configuration.
    """
    # To be ended politely is to be interrupted: no ssh may stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(_parser().parse_args(arguments))
    except ConfigError as problem:
        print(f"labcheck: {report.one_line(str(problem))}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        ssh.stop_all()
        print("labcheck: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="labcheck",
        description="Check a server, read-only, against the items of the deployment checklist.",
        epilog="Exit status: 1 if anything fails, else 2 if anything could not be observed, else 0; "
        "64 for a wrong command line. Without HOST, the nearest labcheck.toml says which server. "
        "Without --exercise nothing is changed: a read-only check leaves one login in the server's log.",
    )
    add = parser.add_argument
    add("host", nargs="?", metavar="HOST", help="the server, as `ssh HOST` reaches it")
    add("-F", dest="ssh_config", type=Path, metavar="FILE", help="an ssh_config in place of your own")
    add("--config", type=Path, metavar="FILE", help="a labcheck.toml")
    add("--domain", help="the name that visitors use (default: HOST)")
    add("--from", dest="vantage", metavar="HOST", help="ask from there, not from this computer")
    add(
        "--reference",
        metavar="NAME",
        help="a host that answers on every port, as proof that a port scan can see them",
    )
    add("--item", type=int, nargs="+", action="extend", default=[], metavar="N", help="only these items")
    add(
        "--exercise",
        action="store_true",
        help="also make things happen, and put them back: questions, logins that fail, a test error",
    )
    add("--reboot", action="store_true", help="with --exercise: the server may be rebooted")
    add("--strict", action="store_true", help="count skipped items as unknown")
    add("--json", action="store_true", help="print JSON")
    add("-v", "--verbose", action="store_true", help="also print each command and what it printed")
    return parser


def _run(options: argparse.Namespace) -> int:
    try:
        items = checklist.items(options.item)
    except ValueError as problem:
        raise ConfigError(str(problem)) from None
    if options.reboot and not options.exercise:
        raise ConfigError("--reboot says what --exercise may do: give both")
    config = _config(options)
    status = Console(stderr=True)
    with _one_login_each(config) as config, status.status("") as line:
        result = runner.run(
            items,
            config.context(reboot=options.reboot),
            exercise=options.exercise,
            progress=lambda text: line.update(f"{text} …"),
        )
    if options.json:
        print(report.as_json(result))
    elif result.unreachable:
        print(f"labcheck: {report.one_line(result.unreachable)}", file=sys.stderr)
    else:
        report.terminal(result, Console(highlight=False), verbose=options.verbose)
    return result.exit_status(strict=options.strict)


@contextmanager
def _one_login_each(config: Config) -> Iterator[Config]:
    """The same, over one login at the server and one at the vantage."""
    with ExitStack() as logins:
        server = logins.enter_context(ssh.one_login(config.server))
        vantage = config.vantage and logins.enter_context(ssh.one_login(config.vantage))
        yield replace(config, server=server, vantage=vantage)


def _config(options: argparse.Namespace) -> Config:
    """The configuration file, or the host that was named, and on top of either what else was said."""
    if options.host and not options.config:
        domain = options.host.rpartition("@")[2] if "." in options.host else ""
        host = options.host
        config = Config(Target(host, domain), Connection(host, config=options.ssh_config))
    else:
        config = load(options.config)
        if options.host:
            config = replace(
                config,
                target=replace(config.target, host=options.host),
                server=replace(config.server, host=options.host),
            )
        if options.ssh_config:
            config = replace(config, server=replace(config.server, config=options.ssh_config))
    target = config.target
    if options.domain:
        target = replace(target, domain=options.domain)
    if options.reference:
        target = replace(target, reference=options.reference)
    if options.vantage:
        target = replace(target, vantage=options.vantage)
        config = replace(config, vantage=config.connection(options.vantage))
    if not target.domain:
        raise ConfigError(f"which name do visitors use for {target.host}? Give --domain NAME")
    return replace(config, target=target)


if __name__ == "__main__":
    sys.exit(main())
