"""What looks for backups: what it makes of units and scripts, and of a real store behind a real sshd."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labcheck.errors import Unreadable
from labcheck.facts.backups import parse_backups
from labcheck.remote import find_backups, permissions
from labcheck.remote.backups import commands, dumps, jobs, restic, restore
from labcheck.result import Result
from tests import needed
from tests.sshd import MAY, Sshd, free_port, shell

SCRIPT = """\
#!/bin/bash
# restic forget is not what this does
set -euo pipefail
pg_dump --format=custom aiapp > copy/aiapp.dump
{folder}/with-restic backup copy
"""
WRAPPER = """\
#!/bin/bash
set -a
. {folder}/environment
exec restic -o rclone.program='ssh -F {folder}/ssh_config store' "$@"
"""
ENVIRONMENT = "RESTIC_REPOSITORY=rclone:store\nRESTIC_PASSWORD_FILE={folder}/password\n"
SYSTEMCTL = """\
#!/bin/bash
case "$*" in
*@.timer*) echo "Failed to get properties: Unit name is missing the instance name." >&2; exit 1 ;;
show*.timer*) cat {folder}/timers ;;
show*) cat {folder}/services ;;
esac
"""
TIMERS = """\
Unit=backup.service
Id=backup.timer
ActiveState=active
UnitFileState=enabled

Unit=fstrim.service
Id=fstrim.timer
ActiveState=active
UnitFileState=enabled

Unit=drill.service
Id=drill.timer
ActiveState=inactive
UnitFileState=disabled
"""
SERVICES = """\
ExecStart={{ path=/sbin/fstrim ; argv[]=/sbin/fstrim -a ; ignore_errors=no ; pid=0 }}
Id=fstrim.service

Result=exit-code
ExecStart={{ path={folder}/backup ; argv[]={folder}/backup ; ignore_errors=no ; pid=0 }}
ExecMainExitTimestampMonotonic=1000000
Environment=
Id=backup.service

Result=success
ExecStart={{ path=/bin/sh ; argv[]=/bin/sh -c restic restore latest ; ignore_errors=no ; pid=0 }}
ExecMainExitTimestampMonotonic=0
Id=drill.service
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as a server's own, with a job's scripts in it."""
    for name, text in {"backup": SCRIPT, "with-restic": WRAPPER, "environment": ENVIRONMENT}.items():
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(jobs, "OWN", re.compile(re.escape(str(tmp_path))))
    return tmp_path


def job(folder: Path) -> dict[str, Any]:
    words = str(folder / "backup")
    texts = jobs.scripts([words])
    return {
        "kind": "backup", "name": "backup.timer", "unit": "backup.service",
        "tools": jobs.tools(words, texts), "_words": words,
        "_scripts": texts, "_settings": jobs.settings([], texts),
    }  # fmt: skip


# ---- units and scripts -------------------------------------------------------------------------


def test_backup_timer_is_known_by_what_its_script_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"systemctl": SYSTEMCTL, "timers": TIMERS, "services": SERVICES}.items():
        (folder / name).write_text(text.format(folder=folder))
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for name in ("backup.timer", "fstrim.timer", "drill.timer", "never@.timer", "backup.service"):
        (folder / name).touch()
    monkeypatch.setattr(jobs, "UNITS", (str(folder), str(folder / "none")))
    backup, drill = jobs.by_timers()
    assert (backup["kind"], backup["name"], backup["unit"]) == ("backup", "backup.timer", "backup.service")
    assert backup["enabled"] and backup["active"] and backup["tools"] == ["pg_dump", "restic"]
    assert backup["result"] == "exit-code" and backup["ended"] > 0
    assert (drill["kind"], drill["enabled"], drill["active"]) == ("drill", False, False)
    assert drill["result"] == "" and drill["ended"] is None  # it has not run since the boot
    assert not [name for name in jobs.public(backup) if name.startswith("_")]


def test_backup_script_is_read_with_what_it_calls_and_without_its_comments(folder: Path) -> None:
    found = jobs.scripts([str(folder / "backup")])
    assert set(found) == {str(folder / "backup"), str(folder / "with-restic")}
    assert jobs.settings([], found)["RESTIC_REPOSITORY"] == "rclone:store"
    assert jobs.kind("# restic backup", {}) == "backup"  # a command line has no comments
    assert jobs.kind("", {"/usr/local/sbin/x": "#!/bin/sh\n# restic backup\ntrue\n"}) == ""


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("restic backup /home", "backup"),
        ("restic -r sftp:store:repo backup /home", "backup"),
        ("pg_dump aiapp | gzip > /var/backups/aiapp.sql.gz", "backup"),
        ("borgmatic --verbosity 1", "backup"),
        ("restic restore latest --target /var/tmp/back", "drill"),
        ("restic forget --prune", ""),
        ("dpkg-db-backup", ""),
        ("pg_restore --list aiapp.dump", ""),
    ],
)
def test_job_is_a_backup_or_a_drill_by_its_command(words: str, kind: str) -> None:
    assert jobs.kind(words, {}) == kind


def test_restic_wrapper_is_used_as_it_is(folder: Path) -> None:
    store = restic.Store(job(folder))
    assert store.command == [str(folder / "with-restic")]
    assert store.where == "rclone:store" and store.password == str(folder / "password")
    assert store.ssh() == ["ssh", "-F", str(folder / "ssh_config"), "store"]


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ("sftp:me@store.example:/srv/repo", "store.example"),
        ("rest:https://me:pass@store.example:8000/me", "store.example"),
        ("s3:https://s3.example.com/bucket", "s3.example.com"),
        ("b2:bucket:path", "b2"),
        ("/var/backups/repo", ""),
        ("rclone:remote:path", "?"),
    ],
)
def test_repository_s_host_is_read_from_its_address(where: str, host: str) -> None:
    restic_store = store(f"restic -r {where} -p /etc/password backup /home")
    assert (restic_store.where, restic_store.host(), restic_store.password) == (where, host, "/etc/password")


def store(words: str, **settings: str) -> restic.Store:
    return restic.Store({"_words": words, "_scripts": {}, "_settings": settings, "name": "backup.timer"})


def test_a_password_in_an_address_is_masked() -> None:
    masked = store("", RESTIC_PASSWORD="hunter2hunter2").masked(
        "rest:https://me:pass@host/ and hunter2hunter2"
    )
    assert masked == "rest:https://••••@host/ and ••••••"


def test_a_passphrase_and_a_session_s_token_are_masked_as_well_and_a_key_s_id_is_not() -> None:
    variables = {"BORG_PASSPHRASE": "a phrase", "AWS_SESSION_TOKEN": "a-token", "AWS_ACCESS_KEY_ID": "AKIA1"}
    assert store("", **variables).masked("a phrase, a-token of AKIA1") == "••••••, •••••• of AKIA1"


def test_repository_in_a_folder_of_this_server_is_here(tmp_path: Path) -> None:
    place = restic.place(store(f"restic -r {tmp_path} backup /home"))
    assert place == {"place": "here", "host": str(tmp_path)}


# ---- dumps that lie about ----------------------------------------------------------------------


def test_dump_is_found_by_what_is_in_it_and_counts_if_every_account_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "PLACES", (str(tmp_path),))
    monkeypatch.setattr(dumps, "world_enterable", lambda place: True)
    text = b"--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n"
    contents = {
        "custom": b"PGDMP\x01\x0e\x00", "plain.txt": text, "packed.gz": gzip.compress(text),
        "closed.sql": text, "notes.sql": b"SELECT 1;\n", "broken.gz": b"\x1f\x8b\x08", "empty.sql": b"",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600 if name == "closed.sql" else 0o644)
    (tmp_path / "link").symlink_to(tmp_path / "custom")
    deep = tmp_path / "1" / "2" / "3" / "4"
    deep.mkdir(parents=True)
    (deep / "too-deep.sql").write_bytes(text)
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "away.sql").write_bytes(text)
    (tmp_path / "shut").chmod(0o700)
    assert {Path(path).name for path in dumps.open_dumps()} == {"custom", "plain.txt", "packed.gz"}


def test_folder_that_is_closed_keeps_other_accounts_out(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "password").touch(mode=0o644)
    tmp_path.chmod(0o700)
    assert permissions.world_readable(Path("/etc/passwd")) and permissions.world_enterable(Path("/usr/bin"))
    assert not permissions.world_readable(tmp_path / "inside" / "password")
    assert not permissions.world_enterable(tmp_path / "inside")
    assert not permissions.world_enterable(Path("/usr/there-is-no-such-folder"))


# ---- comparing ---------------------------------------------------------------------------------


def test_rows_that_came_meanwhile_are_neither_missing_nor_strange() -> None:
    before, after = {"public.usage": {"a", "b", "old"}}, {"public.usage": {"a", "b", "new"}}
    (table,) = restore.compared("aiapp", {"public.usage": {"a", "b", "old"}}, before, after)
    assert table == {"name": "aiapp: usage", "rows": 3, "missing": 0, "strange": 0}
    (table,) = restore.compared("aiapp", {"public.usage": {"a", "x"}}, before, after)
    assert (table["missing"], table["strange"]) == (1, 1)
    (table,) = restore.compared("aiapp", {}, before, after)
    assert (table["rows"], table["missing"]) == (0, 2)


# ---- a real store ------------------------------------------------------------------------------

Authorize = Callable[[str], dict[str, Any]]


@pytest.fixture
def store_of(folder: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authorize]:
    """What the program finds out about a store whose key has this forced command."""
    needed.program("curl")
    for name in ("restic", "rclone"):
        found = needed.program(name)
        # Neither sshd nor the program goes by this process's own PATH.
        monkeypatch.setattr(commands, "PATH", f"{found.parent}:{commands.PATH}")
    authorized = sshd.folder / "authorized"
    as_it_was = authorized.read_text()
    config = sshd.config(IdentityFile=str(sshd.folder / "other")).read_text()
    (folder / "ssh_config").write_text(config.replace("Host server", "Host store"))
    (folder / "password").write_text("a password of the tests\n")
    (folder / "password").chmod(0o600)
    home = Path(f"~{MAY}").expanduser() / f"store-{free_port()}"

    def ask(command: str) -> dict[str, Any]:
        forced = command.format(rclone=shutil.which("rclone"), home=home)
        options = f'restrict,command="{forced}" ' if forced else ""
        authorized.write_text(f"{as_it_was}{options}{(sshd.folder / 'other.pub').read_text()}")
        if command:
            shell(str(folder / "with-restic"), "init")
            (folder / "copy").mkdir(exist_ok=True)
            (folder / "copy" / "aiapp.dump").write_bytes(b"")
            shell(str(folder / "with-restic"), "backup", str(folder / "copy"))
        description = restic.described(job(folder), ask=True)
        assert description is not None
        return description

    yield ask
    authorized.write_text(as_it_was)
    shutil.rmtree(home, ignore_errors=True)


def test_store_key_that_can_only_append_is_refused_to_delete(store_of: Authorize) -> None:
    described = store_of("{rclone} -q serve restic --stdio --append-only {home}")
    assert (described["delete"], described["shell"], described["problem"]) == ("refused", False, "")
    assert described["count"] == 1 and described["place"] == "here"  # this sshd is on this computer
    assert [Path(held["path"]).name for held in described["dumps"]] == ["aiapp.dump"] and described[
        "size"
    ] == 0
    assert [password["ours"] for password in described["passwords"]] == [True]


def test_read_only_check_of_a_store_logs_in_nowhere(store_of: Authorize, folder: Path, sshd: Sshd) -> None:
    store_of("{rclone} -q serve restic --stdio --append-only {home}")
    logins = (sshd.folder / "sshd.log").read_text().count("Accepted publickey")
    description = restic.described(job(folder), ask=False)
    assert description is not None
    assert (description["place"], description["asked"], description["newest"]) == ("here", False, None)
    assert (sshd.folder / "sshd.log").read_text().count("Accepted publickey") == logins > 0


def test_store_key_that_can_delete_is_allowed_to(store_of: Authorize) -> None:
    description = store_of("{rclone} -q serve restic --stdio {home}")
    assert (description["delete"], description["shell"], description["problem"]) == ("allowed", False, "")


def test_store_key_that_opens_a_shell_is_seen(store_of: Authorize) -> None:
    assert store_of("")["shell"] is True


def test_store_that_was_asked_has_no_lock_and_no_copy_of_it(store_of: Authorize, folder: Path) -> None:
    store_of("{rclone} -q serve restic --stdio --append-only {home}")
    restic.described(job(folder), ask=True)
    locks = subprocess.run(
        [folder / "with-restic", "list", "locks", "--no-lock"], capture_output=True, text=True, timeout=300
    )
    assert (locks.returncode, locks.stdout) == (0, "")


# ---- what comes back ---------------------------------------------------------------------------


def test_backups_fact_understands_what_find_backups_prints() -> None:
    answer = json.dumps(find_backups.observe())
    found = parse_backups(Result(answer, "", 0))
    assert found.host and found.now > 1.7e9


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Result("", "bash: python3: command not found", 127), "python3 is not installed"),
        (Result("", "Traceback\nOSError: it broke", 1), "OSError: it broke"),
        (Result("{}", "", 0), "not understood"),
        (Result("", "", 0), "not understood"),
    ],
)
def test_backups_fact_that_is_not_understood_says_why(result: Result, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        parse_backups(result)
