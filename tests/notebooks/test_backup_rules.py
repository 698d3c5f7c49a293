"""The alert rules of chapter 09, by promtool: the very file, just below and just above each limit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.needed import program

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "09_backups.ipynb"
BACKUP = "aiapp_backup_last_success_timestamp_seconds"
DRILL = "aiapp_restore_drill_last_success_timestamp_seconds"
RUN = "aiapp_backup_last_run_succeeded"
HOUR, DAY = 60, 24 * 60  # minutes


def rules() -> str:
    """The file as the cell writes it."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells if cell["id"] == "told-rules")
    first, _, text = source.partition("\n")
    assert first.startswith("%%vm_file /etc/prometheus/rules/")
    return text + "\n"


def series(name: str, values: str) -> dict[str, str]:
    return {"series": name, "values": values}


# Prometheus's time begins at 0 in these tests: a backup at 0 is as old as the clock says, in minutes.
GOOD = [series(BACKUP, "0x20000"), series(DRILL, "0x20000"), series(RUN, "1x20000")]


def cases() -> list[tuple[str, list[dict[str, str]], int, list[str]]]:
    """(what it is, the series, minutes, the alerts that fire then)"""
    no_drill = [GOOD[0], GOOD[2]]
    return [
        ("a fresh backup", GOOD, 5, []),
        ("26 h old, and not a second older", GOOD, 26 * HOUR, []),
        ("over 26 h, and not for a minute yet", GOOD, 26 * HOUR + 1, []),
        ("over 26 h for a minute", GOOD, 26 * HOUR + 2, ["BackupTooOld"]),
        (
            "a number that stood still and is renewed",
            [series(BACKUP, f"0x{27 * HOUR} {27 * HOUR * 60}x600"), *GOOD[1:]],
            27 * HOUR + 10,
            [],
        ),
        ("a backup that just failed", [*GOOD[:2], series(RUN, "1x10 0x100")], 15, []),
        ("one that failed five minutes ago", [*GOOD[:2], series(RUN, "1x10 0x100")], 16, ["BackupFailed"]),
        ("one that failed and was made again", [*GOOD[:2], series(RUN, "1x10 0x3 1x100")], 30, []),
        (
            "a server that starts, without a number at first",
            [series(BACKUP, "_x10 0x100"), *GOOD[1:]],
            12,
            [],
        ),
        ("no number for 14 minutes", GOOD[1:], 14, []),
        ("no number for a quarter of an hour", GOOD[1:], 16, ["BackupUnknown"]),
        ("a drill of eight days ago", GOOD, 8 * DAY, ["BackupTooOld"]),
        ("an older one, for 15 minutes", GOOD, 8 * DAY + 16, ["BackupTooOld", "RestoreDrillTooOld"]),
        ("an older one, for 14 minutes", GOOD, 8 * DAY + 15, ["BackupTooOld"]),
        ("no drill, for 14 minutes", no_drill, 14, []),
        ("no drill ever", no_drill, 16, ["RestoreDrillTooOld"]),
    ]


def test_each_rule_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    promtool = program("promtool")
    (tmp_path / "backup.yml").write_text(rules(), encoding="utf-8")
    names = ("BackupTooOld", "BackupFailed", "BackupUnknown", "RestoreDrillTooOld")
    tests = [
        {
            "name": title,
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{minutes}m",
                    "exp_samples": [{"labels": "{}", "value": int(name in firing)}],
                }
                for name in names
            ],
        }
        for title, series, minutes, firing in cases()
    ]
    # JSON is YAML.
    file = {"rule_files": ["backup.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(file), encoding="utf-8")
    completed = subprocess.run(
        [promtool, "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, timeout=120
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_every_rule_says_what_happened_and_how_bad_it_is() -> None:
    counts = {word: rules().count(word) for word in ("- alert:", "summary:", "severity:")}
    assert set(counts.values()) == {4}, counts
