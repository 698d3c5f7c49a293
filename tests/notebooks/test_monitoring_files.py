"""What chapter 07 puts on the server: the rules, their tests, and a copy that is twenty times as fast."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nbformat
import pytest

from tests.needed import program

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "07_monitoring.ipynb"
ETC = "/etc/prometheus/"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The chapter's files of /etc/prometheus, in a folder, and lab-pace beside them."""
    (tmp_path / "rules" / "tests").mkdir(parents=True)
    for cell in nbformat.read(CHAPTER, as_version=4).cells:
        head, _, text = cell.source.partition("\n")
        if head.startswith(f"%%vm_file {ETC}"):
            (tmp_path / head.split()[1].removeprefix(ETC)).write_text(text + "\n")
        elif head.startswith("%%vm_file /usr/local/sbin/lab-pace"):
            (tmp_path / "lab-pace").write_text(text + "\n")
    return tmp_path


def changed(etc: Path, name: str) -> list[tuple[str, str]]:
    before, after = ((etc / folder / name).read_text().splitlines() for folder in ("", "lab"))
    return [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]


def test_the_lab_s_pace_changes_times_alone_and_says_so(etc: Path) -> None:
    subprocess.run(["bash", etc / "lab-pace", etc], check=True)
    rules = changed(etc, "rules/aiapp.yml")
    assert [pair for pair in rules if pair[0].startswith("for:")] == [("for: 2m", "for: 6s")] * 2
    assert (
        all(new == old.replace("[5m]", "[15s]").replace("2m", "6s") for old, new in rules) and len(rules) == 5
    )
    assert changed(etc, "prometheus.yml") == [
        ("scrape_interval: 15s", "scrape_interval: 2s"),
        ("evaluation_interval: 15s", "evaluation_interval: 2s"),
        (
            "external_labels: {server: app.lab.example}",
            'external_labels: {lab_pace: "20", server: app.lab.example}',
        ),
    ]
    assert changed(etc, "alertmanager.yml") == [
        ("group_wait: 30s", "group_wait: 4s"),
        ("group_interval: 2m", "group_interval: 6s"),
        ("repeat_interval: 1m", "repeat_interval: 3s"),
        (
            "- url: https://alerts.lab.example/heartbeat?within=5m",
            "- url: https://alerts.lab.example/heartbeat?within=15s",
        ),
    ]


def test_the_health_alert_is_the_module_s() -> None:
    rules = next(c.source for c in nbformat.read(CHAPTER, as_version=4).cells if c.id == "rules-file")
    rule = rules.partition("- alert: HealthCheckFails")[2].partition("- alert:")[0]
    assert "for: 2m\n" in rule and "severity: critical" in rule
    assert all(f"> {limit}\n" in rules for limit in ("0.05", "5", "0.8", "100"))


def rules_pass(etc: Path) -> bool:
    """Whether the rules pass their tests."""
    command = [program("promtool"), "test", "rules", "aiapp.yml", "cost.yml"]
    return subprocess.run(command, cwd=etc / "rules" / "tests", capture_output=True).returncode == 0


def test_the_rules_pass_their_tests(etc: Path) -> None:
    assert rules_pass(etc)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("for: 2m\n        labels: {severity: critical}", "for: 1m45s\n        labels: {severity: critical}"),
        ("for: 2m\n        labels: {severity: critical}", "for: 2m15s\n        labels: {severity: critical}"),
        ("severity: critical", "severity: warning"),
        ('probe_success{job="health"} == 0', 'absent(probe_success{job="health"} == 1)'),
        ("> 0.05", "> 0.06"),
        ("> 0.05", ">= 0.05"),
        ('status=~"5.."', 'status=~"5xx"'),
        ('status=~"5.."', 'status=~"50[03]"'),
        ('"/health.*|/metrics",status', '"/metrics",status'),
        ('route!~"/health.*|/metrics"}[5m]))', 'route!~"/metrics"}[5m]))'),
        ("or vector(0)", "or vector(1)"),
        ("[5m]", "[4m]"),
        ("[5m]", "[10m]"),
        ("0.95", "0.9"),
        ("0.95", "0.99"),
        ("> 5\n", "> 6\n"),
        ("by (le)", "by (le, route)"),
        ("> 0.8\n", "> 0.81\n"),
        ("> 0.8\n", ">= 0.8\n"),
        ("ext4|xfs|btrfs", ".*"),
        ("> 100", "> 105"),
        ("> 100", "> 95"),
        ("[24h]", "[12h]"),
        ("up == 0\n        for: 2m", "up == 0\n        for: 1m"),
        ("vector(1)", "vector(0) > 0"),
    ],
)
def test_rules_that_are_a_little_wrong_fail_their_tests(etc: Path, old: str, new: str) -> None:
    rules = etc / "rules" / "aiapp.yml"
    text = rules.read_text()
    assert old in text
    rules.write_text(text.replace(old, new))
    assert not rules_pass(etc)
