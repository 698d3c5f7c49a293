"""Real PostgreSQL, Redis and Chroma on 127.0.0.1, for the tests of what speaks to them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests.needed import absent, program

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = CHECKOUT / "vagrant" / "internet" / "repository" / "chroma" / "requirements.lock"
PATIENCE = 60  # seconds for a server to start, to stop or to answer; each takes less than one
APP, PASSWORD = "app", "a-password-of-the-tests"  # PostgreSQL's account for the application

# Ends a server when its standard input ends: when the tests are through with it, and when they were killed.
# A paused process would never see its signal, so it is resumed, its children first. Only PostgreSQL has some,
# and each of them is a process group of its own.
GUARD = """
runs() {  # a process that ended may stay as a zombie until someone asks for its exit status
  case $(ps -o stat= -p "$1") in '' | Z*) return 1 ;; esac
}
read -r folder_is
pkill -CONT -P "$1"
kill -INT "$1" && kill -CONT "$1"
tries=0
while runs "$1" && [ $tries -lt 100 ]; do
  sleep 0.05
  tries=$((tries + 1))
done
if runs "$1"; then
  pkill -KILL -P "$1"
  kill -KILL "$1"
fi
[ "$folder_is" = kept ] || rm -rf "$2"
"""


def free_port() -> int:
    """A port that no outgoing connection takes while the server is stopped: those begin at 32768."""
    for port in random.sample(range(20000, 30000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


def unprivileged() -> dict[str, Any]:
    """What makes Popen use an account without rights where the tests run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # not there on Windows, where the rest of this folder's tests can do without

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Service:
    """A server with a port and a folder of its own; it keeps both when it is stopped and started again."""

    name: str
    as_nobody = True  # where the tests run as root

    def __init__(self) -> None:
        account = unprivileged() if self.as_nobody else {}
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        os.chown(self.folder, account.get("user", -1), account.get("group", -1))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C"}
        self.options: dict[str, Any] = {"cwd": self.folder, "env": environment, **account}
        self.process: subprocess.Popen[bytes] | None = None
        self.guard: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What runs it in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def database(self) -> AbstractContextManager[str]:
        """The URL of an empty database in it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, or do nothing where it runs; returns when it answers."""
        if self.process is not None and self.process.poll() is None:
            return
        self.stop()  # where it died by itself, its guard is still there
        with (self.folder / "log").open("ab") as log:
            # A session of its own: Ctrl-C is for the tests, which still need the server to finish.
            process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True, **self.options
            )
        self.process = process
        self.guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", str(process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            said = (self.folder / "log").read_text(errors="replace")
            assert process.poll() is None, f"{self.name} ended with {process.returncode}: {said}"
            assert time.monotonic() < deadline, f"{self.name} does not answer within {PATIENCE} s: {said}"
            time.sleep(0.02)

    def stop(self, folder_is: str = "kept") -> None:
        """End it, paused or not; connections to its port are refused from then on."""
        if self.process is None or self.guard is None:
            return
        assert self.guard.stdin is not None
        self.guard.stdin.write(folder_is.encode() + b"\n")
        self.guard.stdin.close()
        self.process.wait(PATIENCE)
        self.guard.wait(PATIENCE)
        self.process = self.guard = None

    def pause(self) -> None:
        """From now on it accepts connections, as its kernel does that, and says nothing on any."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def recover(self) -> None:
        """See that it runs, whatever a test that failed halfway did to it."""
        if self.process is not None:
            self.resume()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} is stopped"
        self.process.send_signal(number)  # first: a stopped PostgreSQL begins no more children
        subprocess.run(["pkill", f"-{number.value}", "-P", str(self.process.pid)], check=False)

    def close(self) -> None:
        """End it for good."""
        self.stop(folder_is="gone")
        shutil.rmtree(self.folder, ignore_errors=True)  # it may never have been started


class PostgresServer(Service):
    """PostgreSQL. What it was given outlives a stop, but not a power failure."""

    name = "postgres"

    def __init__(self) -> None:
        self.programs = program("initdb").resolve().parent
        super().__init__()
        self.numbers = count(1)
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)  # initdb may run as another account; the folder is its own
        self.options["env"] |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres"}
        self.options["env"] |= {"PGPASSWORD": PASSWORD, "PGDATABASE": "postgres"}
        self.run("initdb", "--pgdata=data", "--username=postgres", "--pwfile=password", "--encoding=UTF8",
                 "--auth=scram-sha-256", "--no-locale", "--no-sync")  # fmt: skip
        self.start()
        self.run("psql", "-c", f"CREATE ROLE {APP} LOGIN PASSWORD '{PASSWORD}'")

    def run(self, name: str, *arguments: str) -> None:
        command = [str(self.programs / name), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, **self.options)
        assert ended.returncode == 0, f"{name}: {ended.stdout}{ended.stderr}"

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", "data", *options]

    def answers(self) -> bool:
        asked = [str(self.programs / "pg_isready"), "--quiet"]
        return subprocess.run(asked, check=False, **self.options).returncode == 0

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a database as this one, for an account that owns it and may do nothing else.

        Without a template it is empty.
        """
        self.recover()
        name = f"test_{next(self.numbers)}"
        self.run("psql", "-c", f"CREATE DATABASE {name} OWNER {APP} TEMPLATE {template}")
        yield f"postgresql+asyncpg://{APP}:{PASSWORD}@127.0.0.1:{self.port}/{name}"
        self.recover()
        self.run("psql", "-c", f"DROP DATABASE {name} WITH (FORCE)")  # each takes 8 MB of the disk


class RedisServer(Service):
    """Redis. A stop empties it."""

    name = "redis"

    def __init__(self) -> None:
        self.program = program("redis-server")
        super().__init__()
        self.numbers = count()
        self.start()

    def command(self) -> list[str]:
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--databases", "10000"]
        return [str(self.program), *where, "--save", ""]

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100) == b"+PONG\r\n"
        return False

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database that nobody has used yet."""
        self.recover()
        yield f"redis://127.0.0.1:{self.port}/{next(self.numbers)}"


class ChromaServer(Service):
    """Chroma. What it was given outlives a stop."""

    name = "chroma"
    as_nobody = False  # its environment may be in a home that nobody else may enter
    # The package's own program imports all that it depends on; the server is in this one module.
    START = "import sys, chromadb_rust_bindings as chroma; chroma.cli(['chroma', *sys.argv[1:]])"

    def __init__(self) -> None:
        self.python = chroma_environment() / "bin" / "python"
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def command(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--path", "data"]
        return [str(self.python), "-c", self.START, "run", *where]

    def answers(self) -> bool:
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{self.url}/api/v2/heartbeat", timeout=1).status_code == 200
        return False

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of the server, where every collection has been removed, whoever made it."""
        self.recover()
        with httpx2.Client(base_url=self.url, timeout=PATIENCE) as client:
            collections = "/api/v2/tenants/default_tenant/databases/default_database/collections"
            for each in client.get(collections).raise_for_status().json():
                client.delete(f"{collections}/{each['name']}").raise_for_status()
        yield self.url


AnyService = TypeVar("AnyService", bound=Service)


@contextmanager
def running(kind: type[AnyService]) -> Iterator[AnyService]:
    """Such a server, which ends with the block."""
    if os.name != "posix":
        absent("the servers are started and paused as POSIX has it")
    program("pkill")
    server = kind()
    try:
        yield server
    finally:
        server.close()


def chroma_environment() -> Path:
    """A virtual environment with what Chroma's lock names, made where it is not there yet (about 65 MB)."""
    version = LOCK.read_text(encoding="utf-8").partition("==")[2].split()[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shipshape"
    folder = cache / f"chroma-{version}-python{sys.version_info.major}.{sys.version_info.minor}"
    if (folder / "bin" / "python").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # the Python that it was made with is gone
    cache.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=cache))
    install = ["install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
               "--requirement", str(LOCK)]  # fmt: skip
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(new)],
        [sys.executable, "-m", "pip", "--retries=1", "--python", str(new / "bin" / "python"), *install],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            shutil.rmtree(new)
            absent(f"{' '.join(command)}: {ended.stderr.strip().rpartition('ERROR: ')[2]}")
    try:
        new.rename(folder)  # whole or not at all
    except OSError:
        shutil.rmtree(new)  # another run of the tests was faster
    return folder
