"""Log files: the right records in each, none lost by a rotation, and an application that outlives a disk."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import REGISTRY

from lab_app import log_files
from lab_app.json_logs import JsonFormatter
from lab_app.log_files import FILES, LogFiles
from tests import needed

from .conftest import KEY, ROOT, wait_until
from .time_limits import GENEROUS

# Says that it is ready, waits for a line, and then writes numbered lines through the application's own
# configuration, as many as a very busy server, until there is a file. Its last words are how many, and how
# many each file did not take.
WRITER = """
import json, logging, sys, time
from pathlib import Path
from prometheus_client import REGISTRY
from lab_app.json_logs import configure_logging
from lab_app.log_files import FILES
from lab_app.settings import Settings

folder, name, stop = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
configure_logging(Settings(_env_file=None, log_dir=folder))
logger = logging.getLogger("lab_app.test")
print("ready", flush=True)
sys.stdin.readline()
number = 0
while not stop.exists():
    number += 1
    fields = {"event_type": "request", "line": f"{name} {number}", "padding": "x" * (number * 97 % 1500)}
    logger.info("numbered", extra=fields)
    time.sleep(0.0005)
counts = {file: REGISTRY.get_sample_value("app_log_lines_dropped_total", {"file": file}) for file in FILES}
print(json.dumps({"written": number, "dropped": {file: count or 0 for file, count in counts.items()}}))
"""


@pytest.fixture
def log_to() -> Iterator[Callable[[Path], logging.Logger]]:
    """A logger that writes to files in a folder as the application's do."""
    handlers: list[LogFiles] = []

    def start(folder: Path) -> logging.Logger:
        handlers.append(LogFiles(folder))
        handlers[-1].setFormatter(JsonFormatter())
        logger = logging.Logger("lab_app.test")
        logger.addHandler(handlers[-1])
        return logger

    yield start
    for handler in handlers:
        for file, _ in handler.files.values():
            os.close(file)


LogTo = Callable[[Path], logging.Logger]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, to be filled for real."""
    needed.mounts()
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(folder)]
    subprocess.run(command, check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """The file that takes all room on the disk but for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast


def entries(path: Path) -> list[dict[str, Any]]:
    """What is in a file, packed or not. Every line of it is a JSON object, or blank."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert content.endswith(b"\n") or not content
    found = [json.loads(line) for line in content.split(b"\n") if line.strip()]
    assert all(isinstance(entry, dict) for entry in found)
    return found


def lost() -> dict[str, float]:
    """The lines that each file did not take since the start of this process, as the metric has it."""
    name = "app_log_lines_dropped_total"
    return {file: REGISTRY.get_sample_value(name, {"file": file}) or 0 for file in FILES}


def lost_since(before: dict[str, float]) -> dict[str, float]:
    """The same, of the files that lost any since then."""
    return {file: count - before[file] for file, count in lost().items() if count > before[file]}


def messages(path: Path) -> list[str]:
    return [entry["message"] for entry in entries(path)]


# Which records go where


@pytest.mark.parametrize(
    ("level", "event_type", "copies"),
    [
        (logging.INFO, "startup", set()),
        (logging.WARNING, "health_change", set()),
        (logging.INFO, "request", {"access.log"}),
        (logging.WARNING, "request", {"access.log"}),
        (logging.ERROR, "request", {"access.log", "error.log"}),
        (logging.ERROR, "error", {"error.log"}),
        (logging.CRITICAL, "startup", {"error.log"}),
        (logging.INFO, "llm_call", {"metrics.log"}),
        (logging.ERROR, "llm_error", {"metrics.log", "error.log"}),
        (logging.INFO, ["request"], set()),
    ],
)
def test_app_log_has_every_record_and_the_others_the_same_line_where_it_concerns_them(
    log_to: LogTo, tmp_path: Path, level: int, event_type: object, copies: set[str]
) -> None:
    log_to(tmp_path).log(level, "this one", extra={"event_type": event_type})
    line = (tmp_path / "app.log").read_bytes()
    assert json.loads(line)["message"] == "this one"
    assert {name for name in FILES if (tmp_path / name).read_bytes() == line} == {"app.log"} | copies
    assert {name for name in FILES if not (tmp_path / name).read_bytes()} == set(FILES) - {"app.log"} - copies


def test_a_record_is_formatted_once_however_many_files_want_it(log_to: LogTo, tmp_path: Path) -> None:
    class Counted:
        times = 0

        def __str__(self) -> str:
            self.times += 1
            return "said"

    counted = Counted()
    log_to(tmp_path).error("%s", counted, extra={"event_type": "request"})
    assert counted.times == 1


def test_the_files_are_there_from_the_start_and_only_the_owner_and_the_group_may_look(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    program = "import os, sys; os.umask(0o022); from pathlib import Path; import lab_app.log_files as files\n"
    subprocess.run(
        [sys.executable, "-c", program + f"files.LogFiles(Path({str(folder)!r}))"], cwd=ROOT, check=True
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(FILES, 0o640)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


@pytest.mark.parametrize("folder", ["/dev/null/logs", "/proc/logs", "/dev/null"])
def test_a_folder_that_cannot_be_ends_the_start_with_a_sentence(folder: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import lab_app.main"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LOG_DIR": folder},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("settings: LOG_DIR: ") and folder in result.stderr
    assert len(result.stderr.splitlines()) == 1


# Rotation


def test_after_a_rename_lines_go_to_a_new_file(log_to: LogTo, tmp_path: Path) -> None:
    logger = log_to(tmp_path)
    logger.warning("before")
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    logger.warning("after")
    assert messages(tmp_path / "app.log.1") == ["before"]
    assert messages(tmp_path / "app.log") == ["after"]


def test_after_a_rename_lines_go_to_the_file_that_logrotate_has_made(log_to: LogTo, tmp_path: Path) -> None:
    logger = log_to(tmp_path)
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    (tmp_path / "app.log").touch(mode=0o600)
    logger.warning("after")
    assert messages(tmp_path / "app.log") == ["after"]


def test_a_file_that_was_deleted_is_made_anew(log_to: LogTo, tmp_path: Path) -> None:
    logger = log_to(tmp_path)
    (tmp_path / "app.log").unlink()
    logger.warning("after")
    assert messages(tmp_path / "app.log") == ["after"]


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Callable[[logging.Logger], None]:
    """Waits until a logger's files have been followed, and the folder's time is one to be believed."""
    monkeypatch.setattr(log_files, "COARSE", 100_000_000)

    def wait(logger: logging.Logger) -> None:
        (handler,) = logger.handlers
        assert isinstance(handler, LogFiles)
        wait_until(handler.is_settled, "a folder in which nothing is renamed")

    return wait


Settle = Callable[[logging.Logger], None]


@pytest.mark.parametrize("name", ["app.log", "error.log"])
def test_a_rename_after_a_quiet_time_is_noticed(
    log_to: LogTo, settle: Settle, tmp_path: Path, name: str
) -> None:
    logger = log_to(tmp_path)
    settle(logger)
    (tmp_path / name).rename(tmp_path / f"{name}.1")
    (tmp_path / name).touch(mode=0o640)
    logger.error("after")
    settle(logger)
    logger.error("settled")
    assert messages(tmp_path / name) == ["after", "settled"]


def test_a_copy_of_the_folder_with_the_same_times_in_its_place_is_noticed(
    log_to: LogTo, settle: Settle, tmp_path: Path
) -> None:
    folder, aside = tmp_path / "logs", tmp_path / "aside"
    logger = log_to(folder)
    settle(logger)
    folder.rename(aside)
    shutil.copytree(aside, folder)
    assert folder.stat().st_mtime_ns == aside.stat().st_mtime_ns
    logger.warning("after")
    assert (messages(aside / "app.log"), messages(folder / "app.log")) == ([], ["after"])


def test_lines_are_counted_as_lost_where_the_folder_goes_after_a_quiet_time(
    log_to: LogTo, settle: Settle, tmp_path: Path
) -> None:
    logger, before = log_to(tmp_path / "logs"), lost()
    settle(logger)
    shutil.rmtree(tmp_path / "logs")
    logger.error("lost")
    assert lost_since(before) == {"app.log": 1, "error.log": 1}


def test_the_time_of_a_folder_that_has_just_changed_is_not_believed(log_to: LogTo, tmp_path: Path) -> None:
    (handler,) = log_to(tmp_path / "logs").handlers
    assert isinstance(handler, LogFiles)
    assert not handler.is_settled()


def test_a_rename_in_another_folder_to_which_a_link_leads_is_noticed(
    log_to: LogTo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log_files, "COARSE", 0)
    folder, elsewhere = tmp_path / "logs", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "app.log").symlink_to(elsewhere / "app.log")
    logger = log_to(folder)
    logger.warning("before")
    (elsewhere / "app.log").rename(elsewhere / "app.log.1")
    logger.warning("after")
    assert messages(elsewhere / "app.log") == ["after"]


Writers = Callable[[Path], list[subprocess.Popen[str]]]


@pytest.fixture
def start_writers(tmp_path: Path) -> Iterator[Writers]:
    """Three processes that write to the same files, as three of the application do; `stop` ends them."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> list[subprocess.Popen[str]]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        for name in "abc":
            program = [sys.executable, "-c", WRITER, str(folder), name, str(tmp_path / "stop")]
            started.append(subprocess.Popen(program, cwd=ROOT, text=True, **pipes))
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def last_words(writers: list[subprocess.Popen[str]], stop: Path) -> dict[str, dict[str, Any]]:
    """What each writer says in the end, by its name."""
    stop.touch()
    return {
        name: json.loads(process.communicate(timeout=120)[0])
        for name, process in zip("abc", writers, strict=True)
    }


def assert_no_line_is_lost(folder: Path, said: dict[str, dict[str, Any]]) -> None:
    written = {f"{name} {n}" for name, words in said.items() for n in range(1, words["written"] + 1)}
    assert len(written) > 100
    for name in ("app.log", "access.log"):
        found = [entry["line"] for path in folder.glob(f"{name}*") for entry in entries(path)]
        assert len(found) == len(written)
        assert set(found) == written
    assert all(sum(words["dropped"].values()) == 0 for words in said.values())


def test_three_processes_lose_no_line_while_their_files_are_renamed_again_and_again(
    tmp_path: Path, start_writers: Writers
) -> None:
    folder = tmp_path / "logs"
    writers = start_writers(folder)
    for round in range(30):
        for name in FILES:
            (folder / name).rename(folder / f"{name}.{round}")
            with contextlib.suppress(FileExistsError):
                (folder / name).touch(mode=0o640, exist_ok=False)
        wait_until(lambda: (folder / "app.log").stat().st_size > 5000, "some lines after the rotation")
    assert_no_line_is_lost(folder, last_words(writers, tmp_path / "stop"))


def test_three_processes_lose_no_line_to_logrotate_which_renames_creates_and_packs(
    tmp_path: Path, start_writers: Writers
) -> None:
    logrotate = needed.program("logrotate")
    folder = tmp_path / "logs"
    rules = tmp_path / "logrotate.conf"
    rules.write_text(f"{folder}/*.log {{\n rotate 1000\n create 0640\n compress\n delaycompress\n}}\n")
    rules.chmod(0o644)
    writers = start_writers(folder)
    for _ in range(12):
        command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(rules)]
        rotated = subprocess.run(command, capture_output=True, text=True)
        assert rotated.returncode == 0, rotated.stderr
        wait_until(lambda: (folder / "app.log").stat().st_size > 5000, "some lines after the rotation")
    said = last_words(writers, tmp_path / "stop")
    assert len(list(folder.glob("app.log.*.gz"))) == 11
    assert_no_line_is_lost(folder, said)


# A disk that takes nothing


def test_on_a_full_disk_logging_goes_on_and_counts_the_lines_that_are_lost(
    log_to: LogTo, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = log_to(small_disk / "logs")
    logger.error("before")
    ballast, before = fill(small_disk), lost()
    for _ in range(5):
        logger.error("lost %s", "x" * 5000)
    assert lost_since(before) == {"app.log": 5, "error.log": 5}
    ballast.unlink()
    logger.error("after")
    for name in ("app.log", "error.log"):
        assert messages(small_disk / "logs" / name) == ["before", "after"]
    (complaint,) = capfd.readouterr().err.splitlines()
    assert complaint.startswith(f"logs: {small_disk}/logs/app.log: ")
    assert complaint.endswith("Lines lost so far: 1")


def test_a_line_that_fits_in_part_leaves_a_blank_line_and_the_next_one_is_whole(
    log_to: LogTo, small_disk: Path
) -> None:
    logger = log_to(small_disk)
    logger.warning("before")
    before = (small_disk / "app.log").stat().st_size
    ballast = fill(small_disk, leave=8192)
    logger.warning("x" * 20_000)
    torn = (small_disk / "app.log").read_bytes()[before:]
    assert len(torn) > 4096 and torn.strip() == b"" and torn.endswith(b" \n")
    ballast.unlink()
    logger.warning("after")
    assert messages(small_disk / "app.log") == ["before", "after"]


def test_a_line_of_another_process_after_the_part_of_one_is_whole_as_well(
    log_to: LogTo, small_disk: Path
) -> None:
    first, second = log_to(small_disk), log_to(small_disk)
    ballast = fill(small_disk, leave=4096)
    first.warning("x" * 6000)
    second.warning("does not fit either")
    ballast.unlink()
    second.warning("short")
    first.warning("after")
    assert messages(small_disk / "app.log") == ["short", "after"]


def test_three_processes_on_a_disk_that_fills_again_and_again_leave_no_broken_line_and_lose_what_they_count(
    small_disk: Path, tmp_path: Path, start_writers: Writers
) -> None:
    folder = small_disk / "logs"
    ballast = fill(small_disk, leave=65536)
    writers = start_writers(folder)
    for _ in range(8):
        os.truncate(ballast, ballast.stat().st_size - 65536)
        wait_until(lambda: os.statvfs(small_disk).f_bavail == 0, "a full disk")
    before = (folder / "access.log").stat().st_size
    ballast.unlink()
    for name in "abc":
        again = f'"line":"{name} '
        wait_until(lambda again=again: again in read(folder / "access.log")[before:], f"a line of {name}")
    said = last_words(writers, tmp_path / "stop")
    access = Counter(entry["line"].split()[0] for entry in entries(folder / "access.log"))
    for name, words in said.items():
        assert words["dropped"]["access.log"] > 0
        assert access[name] == words["written"] - words["dropped"]["access.log"]


def test_where_the_folder_has_gone_logging_goes_on_and_resumes_when_it_is_back(
    log_to: LogTo, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    logger = log_to(folder)
    shutil.rmtree(folder)
    logger.warning("lost")
    folder.mkdir()
    logger.warning("after")
    assert messages(folder / "app.log") == ["after"]
    assert "No such file or directory" in capfd.readouterr().err


def test_one_file_that_cannot_be_written_costs_the_others_nothing(log_to: LogTo, tmp_path: Path) -> None:
    logger, before = log_to(tmp_path), lost()
    (tmp_path / "error.log").unlink()
    (tmp_path / "error.log").mkdir()  # which nobody can open for writing, not even root
    logger.error("one")
    logger.error("two")
    assert messages(tmp_path / "app.log") == ["one", "two"]
    assert lost_since(before) == {"error.log": 2}
    (tmp_path / "error.log").rmdir()
    logger.error("three")
    assert messages(tmp_path / "error.log") == ["three"]
    assert messages(tmp_path / "app.log") == ["one", "two", "three"]


def test_standard_error_hears_of_it_once_a_minute_and_not_more(
    log_to: LogTo, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = log_to(tmp_path)
    (handler,) = logger.handlers
    assert isinstance(handler, LogFiles)
    shutil.rmtree(tmp_path)
    for _ in range(10):
        logger.warning("lost")
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert 50 < handler.quiet_until - time.monotonic() <= 60
    handler.quiet_until = time.monotonic()  # as if that minute were over
    logger.warning("lost")
    (complaint,) = capfd.readouterr().err.splitlines()
    assert complaint.endswith("Lines lost so far: 11")
    tmp_path.mkdir()


# The application


@pytest.fixture
def start_app(tmp_path: Path, model: str) -> Iterator[Callable[[Path], str]]:
    """The URL of an application that logs to a folder; its other outputs are files in `tmp_path`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path) -> str:
        variables = {"LOG_DIR": str(folder), "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": model}
        variables["OPENAI_MODEL"] = "lab-small"
        (tmp_path / "metrics.key").write_text("token-of-the-tests")
        variables["METRICS_TOKEN_FILE"] = str(tmp_path / "metrics.key")
        with (tmp_path / "stdout").open("wb") as stdout, (tmp_path / "stderr").open("wb") as stderr:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "uvicorn", "lab_app.main:app", "--port", "0"],
                    cwd=tmp_path,
                    env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
                    stdout=stdout,
                    stderr=stderr,
                )
            )
        said = wait_until(
            lambda: "running on" in read(folder / "app.log") and read(folder / "app.log"), "a start"
        )
        url: str = said.split("Uvicorn running on ")[1].split()[0]
        return url

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_application_writes_each_request_to_its_files_and_nothing_to_standard_output(
    start_app: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    url = start_app(folder)
    headers = {"X-Request-ID": "the-one"}
    question = {"message": "a private question"}
    assert httpx2.post(url + "/api/chat", json=question, headers=headers, timeout=GENEROUS).status_code == 200
    (request,) = wait_until(lambda: entries(folder / "access.log"), "its line")
    (call,) = entries(folder / "metrics.log")
    assert (request["request_id"], request["path"]) == ("the-one", "/api/chat")
    assert (call["request_id"], call["event_type"]) == ("the-one", "llm_call")
    assert [e for e in entries(folder / "app.log") if e["request_id"] == "the-one"] == [call, request]
    assert read(tmp_path / "stdout") + read(tmp_path / "stderr") == ""
    everything = "".join(read(folder / name) for name in FILES)
    assert KEY not in everything and "private" not in everything


def test_the_application_answers_while_the_disk_of_its_logs_is_full(
    start_app: Callable[[Path], str], small_disk: Path, tmp_path: Path
) -> None:
    url = start_app(small_disk / "logs")
    ballast = fill(small_disk)
    for _ in range(40):  # until the last page of the file is full as well
        assert httpx2.get(url + "/health/live", timeout=GENEROUS).status_code == 200
    ballast.unlink()
    httpx2.get(url + "/health/live", headers={"X-Request-ID": "again"}, timeout=GENEROUS)
    access_log = small_disk / "logs" / "access.log"
    wait_until(lambda: '"request_id":"again"' in read(access_log), "a line again")
    token = {"Authorization": "Bearer token-of-the-tests"}
    metrics = httpx2.get(url + "/metrics", headers=token, timeout=GENEROUS).text
    found = re.search(r'^app_log_lines_dropped_total\{file="app.log"\} (\S+)', metrics, re.MULTILINE)
    assert found is not None and 0 < float(found[1]) < 40
    (complaint,) = read(tmp_path / "stderr").splitlines()
    assert "No space left on device" in complaint or "only a part of the line" in complaint
