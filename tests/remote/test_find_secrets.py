"""The search for secrets, done for real: running programs, a repository, files of several accounts."""

from __future__ import annotations

import gzip
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labcheck.facts import Fact
from labcheck.facts.secrets import Place, Secrets, parse_secrets, search
from labcheck.gather import gather
from labcheck.remote import find_secrets
from labcheck.remote import secrets as rule
from labcheck.result import Result
from labcheck.ssh import Connection
from tests.sshd import MAY, MAY_NOT

PROGRAM = "labkit-app"  # so that no other program of this computer takes part
KEY = "sk-lab-0123456789abcdef"
PASSWORD = "correct horse/battery"
URL = "postgresql://aiapp:correct%20horse%2Fbattery@127.0.0.1/aiapp"


@dataclass
class Site:
    """A folder in place of a server's file system, with an application of its own account that runs in it."""

    root: Path
    uid: int

    @property
    def app(self) -> Path:
        return self.root / "app"

    def write(self, path: str, text: str | bytes, mode: int = 0o644, owner: int | None = None) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
        os.chown(file, self.uid if owner is None else owner, -1)
        return file

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=Lab", "-c", "user.email=lab@example.org")
        command = ["git", *identity, "-C", str(self.app), *arguments]
        subprocess.run(
            command, check=True, capture_output=True, user=self.uid, env={"PATH": os.environ["PATH"]}
        )

    def command(self, seconds: Any = 120.0, **narrower: Any) -> str:
        return search(roots=[str(self.root)], only=PROGRAM, seconds=seconds, **narrower)

    def raw(self, **narrower: Any) -> Result:
        command = ["bash", "-c", self.command(**narrower)]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        return Result(done.stdout, done.stderr, done.returncode)

    def look(self, **narrower: Any) -> Secrets:
        return parse_secrets(self.raw(**narrower))

    def places(self) -> dict[tuple[str, str], set[str]]:
        """(kind, where) to the names of the secrets that are there; `where` is relative to the site's
        root."""
        secrets = self.look()
        names = {number: name for it in secrets.holders for name, number in it.secrets.items()}
        return {
            (place.kind, place.where.replace(f"{self.root}/", "")): {names[it] for it in place.secrets}
            for place in secrets.places
        }


@pytest.fixture
def site(accounts: None) -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="labkit-site-", dir="/tmp"))
    root.chmod(0o755)
    made = Site(root, pwd.getpwnam(MAY).pw_uid)
    made.app.mkdir()
    os.chown(made.app, made.uid, -1)
    made.write("app/.env", f"OPENAI_API_KEY={KEY}\nexport DATABASE_URL='{URL}'\nMAX_TOKENS=4000\n", 0o600)
    (root / PROGRAM).symlink_to("/bin/sleep")
    yield made
    shutil.rmtree(root)


@pytest.fixture
def start(site: Site) -> Iterator[Callable[..., int]]:
    """Start a program of the application's account; its pid."""
    running = []

    def run(*, arguments: tuple[str, ...] = (), account: str = MAY, **variables: str) -> int:
        environment = {"OPENAI_API_KEY": KEY, "DATABASE_URL": URL} | variables
        uid = pwd.getpwnam(account).pw_uid
        command = [str(site.root / PROGRAM), *(arguments or ("600",))]
        running.append(subprocess.Popen(command, cwd=site.app, env=environment, user=uid, extra_groups=[]))
        return running[-1].pid

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def app(start: Callable[..., int]) -> int:
    return start()


# ---- what is written in a file ------------------------------------------------------------------


def test_dotenv_file_is_read_as_a_shell_would() -> None:
    text = "# no\nA=1\nexport B='two # words'\nC=\"three\" # said\n D = four # five\nE=a#b\nF=\nnot a line\n"
    assert find_secrets.dotenv(text) == {
        "A": "1",
        "B": "two # words",
        "C": "three",
        "D": "four",
        "E": "a#b",
        "F": "",
    }


# ---- holders -----------------------------------------------------------------------------------


def test_a_running_program_is_known_with_its_secrets_and_their_file(site: Site, app: int) -> None:
    secrets = site.look()
    (holder,) = secrets.holders
    assert (holder.pid, holder.account, holder.program) == (app, MAY, PROGRAM)
    assert set(holder.secrets) == {"OPENAI_API_KEY", "DATABASE_URL"}
    (file,) = secrets.files
    assert (file.path, file.mode, file.owner, file.access_list) == (holder.file, 0o600, MAY, False)
    assert file.secrets == holder.secrets and file.writers == {str(site.app): (MAY,)}
    assert not secrets.places and not secrets.unread and not secrets.unfinished


def test_value_that_differs_in_the_file_has_another_number(site: Site, start: Callable[..., int]) -> None:
    start(OPENAI_API_KEY="sk-lab-the-one-before")
    found = site.look()
    (holder,), (file,) = found.holders, found.files
    assert holder.secrets["OPENAI_API_KEY"] != file.secrets["OPENAI_API_KEY"]
    assert holder.secrets["DATABASE_URL"] == file.secrets["DATABASE_URL"]


def test_value_that_only_a_shell_understands_is_marked(site: Site, app: int) -> None:
    site.write("app/.env", 'OPENAI_API_KEY="sk-lab-$(hostname)-123"\n', 0o600)
    (file,) = site.look().files
    assert file.odd == {"OPENAI_API_KEY"}


def test_secrets_file_is_reported_with_its_group_and_the_folders_around_it(site: Site, app: int) -> None:
    site.write("app/.env", f"OPENAI_API_KEY={KEY}\n", 0o640)
    os.chown(site.app / ".env", -1, pwd.getpwnam(MAY_NOT).pw_gid)
    site.app.chmod(0o777)
    (file,) = site.look().files
    assert (file.mode, file.group) == (0o640, (MAY_NOT,))
    assert file.writers == {str(site.app): ("everybody",)}


# ---- where they are ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mode", "kind"),
    [
        ("etc/copy.txt", 0o644, "copy"),
        ("app/.env.bak", 0o644, "copy"),
        ("app/.env.swp", 0o604, "copy"),
        ("app/lab_app/settings.py", 0o644, "copy"),
        ("somewhere/app.log", 0o600, "log"),
        ("somewhere/access.log-20260101", 0o600, "log"),
        ("somewhere/user-1000.journal", 0o600, "log"),
        ("someone/.bash_history", 0o600, "history"),
        ("someone/.psql_history", 0o600, "history"),
        ("app/.git/config", 0o600, "repository"),
    ],
)
def test_a_secret_in_a_file_is_found(site: Site, app: int, path: str, mode: int, kind: str) -> None:
    site.write(path, f"before {KEY} and {PASSWORD}\n", mode)
    assert site.places() == {(kind, path): {"OPENAI_API_KEY", "DATABASE_URL"}}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/systemd/system/aiapp.service", "unit"),
        ("/etc/supervisor/conf.d/aiapp.conf", "unit"),
        ("/etc/cron.d/aiapp", "unit"),
        ("/var/spool/cron/crontabs/aiapp", "unit"),
        ("/var/log/postgresql/postgresql-15-main.log", "log"),
        ("/var/log/caddy/anything", "log"),
        ("/etc/environment", "copy"),
        ("/home/aiapp/app/changelog.md", "copy"),
    ],
)
def test_kind_of_a_file_follows_from_its_place(path: str, kind: str) -> None:
    assert find_secrets.kind_of(path) == kind


def test_copy_that_only_root_and_services_may_read_is_none(site: Site, app: int) -> None:
    site.write("etc/root-s.conf", KEY, 0o600, owner=0)
    site.write("closed/inside/copy", KEY, 0o644, owner=0)
    (site.root / "closed").chmod(0o700)
    site.write("etc/a-service-s.conf", KEY, 0o640, owner=pwd.getpwnam("www-data").pw_uid)
    assert not site.places()


def test_copy_is_reported_with_its_readers(site: Site, app: int) -> None:
    account = pwd.getpwnam(MAY_NOT)
    site.write("home/.env", KEY, 0o600, owner=account.pw_uid)
    site.write("app/.env.bak", KEY, 0o600)
    os.chown(site.write("etc/shared", KEY, 0o640, owner=0), -1, account.pw_gid)
    readers = [(place.where.rpartition("/")[2], set(place.readers)) for place in site.look().places]
    assert readers == [(".env.bak", {MAY}), ("shared", {MAY_NOT}), (".env", {MAY_NOT})]


def test_a_secret_across_two_pieces_of_a_file_is_found(site: Site, app: int) -> None:
    site.write("somewhere/app.log", b"x" * (find_secrets.CHUNK - 5) + KEY.encode() + b"x" * 100)
    assert list(site.places()) == [("log", "somewhere/app.log")]


def test_log_that_is_large_is_searched_at_its_end_and_named(site: Site, app: int) -> None:
    path = site.write("somewhere/app.log", b"")
    with path.open("wb") as file:
        file.seek(find_secrets.EACH + 10)
        file.write(KEY.encode())
    found = site.look()
    assert [place.kind for place in found.places] == ["log"] and found.partly == (str(path),)


def test_packed_log_is_unpacked_and_one_that_cannot_be_is_unread(site: Site, app: int) -> None:
    site.write("somewhere/app.log.2.gz", gzip.compress(KEY.encode()))
    site.write("somewhere/app.log.3.gz", gzip.compress(KEY.encode())[:-20])
    site.write("somewhere/app.log.4.zst", b"anything")
    found = site.look()
    assert [place.where for place in found.places] == [f"{site.root}/somewhere/app.log.2.gz"]
    assert [reason.rpartition("/")[2] for reason in found.unread] == [
        "app.log.3.gz: EOFError",
        "app.log.4.zst: packed in a way that is not known here",
    ]


def test_output_file_of_a_program_is_a_log(site: Site, start: Callable[..., int]) -> None:
    path = site.write("app/output", f"Authorization: Bearer {KEY}\n", 0o600)
    with path.open("ab") as output:
        process = subprocess.Popen(
            [site.root / PROGRAM, "600"],
            stdout=output,
            cwd=site.app,
            env={"OPENAI_API_KEY": KEY},
            user=site.uid,
        )
    try:
        assert list(site.places()) == [("log", "app/output")]
    finally:
        process.kill()
        process.wait()


def test_secret_in_a_command_line_is_found_with_its_program(site: Site, app: int) -> None:
    teller = subprocess.Popen(["/bin/bash", "-c", f"read -r; : {KEY}"], stdin=subprocess.PIPE)
    try:
        assert site.places() == {("command line", "bash"): {"OPENAI_API_KEY"}}
    finally:
        teller.kill()
        teller.wait()


# ---- the repository ----------------------------------------------------------------------------


@pytest.fixture
def repository(site: Site) -> Site:
    site.git("init", "-q", "-b", "main")
    site.write("app/README.md", "An application.\n")
    site.git("add", "README.md")
    site.git("commit", "-qm", "An application")
    return site


def committed(site: Site) -> None:
    site.git("add", "-f", ".env")
    site.git("commit", "-qm", "Settings")


def test_a_repository_without_secrets_is_searched(repository: Site, app: int) -> None:
    found = repository.look()
    assert not found.places and found.searched["objects"] == 3


def test_repository_s_history_has_a_file_that_was_taken_out_again(repository: Site, app: int) -> None:
    committed(repository)
    repository.git("rm", "-q", "--cached", ".env")
    repository.write("app/.gitignore", ".env\n")
    repository.git("add", ".gitignore")
    repository.git("commit", "-qm", "Ignore the settings")
    repository.git("gc", "-q")
    (place,) = repository.look().places
    assert (place.kind, place.where) == ("repository", f"{repository.app}, .env")
    assert len(place.commit) >= 7  # the commit that brought it


@pytest.mark.parametrize(
    "undo", [("reset", "-q", "--hard", "HEAD~1"), ("commit", "-q", "--amend", "-m", "x")]
)
def test_repository_still_has_a_commit_that_was_undone(
    repository: Site, app: int, undo: tuple[str, ...]
) -> None:
    committed(repository)
    before = (repository.app / ".env").read_text()
    if undo[0] == "commit":
        repository.git("rm", "-q", "--cached", ".env")
        repository.write("app/other", "something")
        repository.git("add", "other")
    repository.git(*undo)
    repository.write("app/.env", before, 0o600)
    where = "app, in what no branch holds any more"
    assert list(repository.places()) == [("repository", where)]


def test_repository_counts_with_a_file_that_was_only_added_and_with_a_stash(
    repository: Site, app: int
) -> None:
    repository.git("add", "-f", ".env")
    assert [kind for kind, _ in repository.places()] == ["repository"]
    repository.git("stash", "-q")
    repository.write("app/.env", f"OPENAI_API_KEY={KEY}\n", 0o600)
    assert [kind for kind, _ in repository.places()] == ["repository"]


def test_commit_message_counts(repository: Site, app: int) -> None:
    repository.git("commit", "-q", "--allow-empty", "-m", f"Use {KEY}")
    places = repository.places()  # the object, and the files in which git notes what was done
    assert {kind for kind, _ in places} == {"repository"} and len(places) >= 2


def test_the_repository_s_own_configuration_does_not_run_as_root(repository: Site, app: int) -> None:
    proof = repository.root / "proof"
    script = repository.write("script", f"#!/bin/sh\nid -un >> {proof}\n", 0o755)
    for name in ("core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "pager.log"):
        repository.git("config", name, str(script))
    committed(repository)
    repository.look()
    assert not proof.exists() or "root" not in proof.read_text()


# ---- what leaves the server --------------------------------------------------------------------

SECRETS = (KEY, PASSWORD, URL, "correct%20horse%2Fbattery")


def test_secret_values_do_not_leave_the_server_however_often_they_are_there(
    repository: Site, app: int, shared: Connection
) -> None:
    committed(repository)
    repository.write(f"etc/{KEY}/{KEY}.txt", KEY)  # even where a place is named after it
    repository.write("somewhere/app.log", f'{{"url": "{URL}"}}\n{PASSWORD}\n')
    fact = Fact("secrets", repository.command(), parse_secrets, sudo=True, timeout=120)
    observed = gather(shared, [fact])
    assert {place.kind for place in observed[fact].places} == {"copy", "log", "repository"}
    sent = fact.command + observed.results["secrets"].stdout + observed.results["secrets"].stderr
    assert not [value for value in SECRETS if value in sent]
    assert rule.HIDDEN in observed.results["secrets"].stdout


def test_secret_values_are_in_no_command_line_while_they_are_searched_for(
    repository: Site, app: int, running: Callable[[str], list[str]]
) -> None:
    committed(repository)
    command = ["bash", "-c", repository.command()]
    searching = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})
    leaks: list[str] = []
    rounds = 0
    while searching.poll() is None:
        rounds += 1
        leaks += [line for value in SECRETS for line in running(value)]
    assert rounds > 1 and not leaks and searching.returncode == 0


def test_search_that_fails_tells_no_secret_value(site: Site, start: Callable[..., int]) -> None:
    start(OPENAI_API_KEY=KEY)
    result = site.raw(seconds=KEY)
    assert result.exit_status == 1 and "TypeError in labcheck/remote/find_secrets.py, line" in result.stderr
    assert KEY not in result.stdout + result.stderr.replace(f"seconds='{KEY}'", "")


# ---- how far it goes ---------------------------------------------------------------------------


def test_a_search_that_runs_out_of_time_or_size_says_what_it_did_not_come_to(site: Site, app: int) -> None:
    assert str(site.root) in site.look(seconds=0).unfinished
    site.write("somewhere/app.log", b"x" * 10_000)
    assert str(site.root) in site.look(total=1000).unfinished


def test_secret_that_is_too_short_is_reported_and_not_searched_for(
    site: Site, start: Callable[..., int]
) -> None:
    start(OPENAI_API_KEY="short", DATABASE_URL="postgresql://aiapp:aiapp@127.0.0.1/aiapp")
    site.write("etc/copy", "aiapp short")
    found = site.look()
    (holder,) = found.holders
    assert set(holder.secrets.values()) <= found.short and not found.places


def test_installed_packages_are_left_out(site: Site, app: int) -> None:
    site.write("app/.venv/lib/x.py", KEY)
    site.write("app/node_modules/x.js", KEY)
    assert not site.places()


def test_a_place_says_which_of_the_secrets_is_there(site: Site, app: int) -> None:
    site.write("etc/copy", PASSWORD)
    (place,) = site.look().places
    (holder,) = site.look().holders
    secrets = frozenset({holder.secrets["DATABASE_URL"]})
    assert place == Place("copy", f"{site.root}/etc/copy", secrets, frozenset({"everybody"}))
