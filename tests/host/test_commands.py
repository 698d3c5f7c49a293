"""The commands of lab.py: what cannot be done is a sentence with the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.checkout import lab


def test_a_failed_program_is_one_sentence_and_names_the_log(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text(
        "#!/bin/sh\necho 'write: No space left on device' >&2; exit 1\n"
    )
    ran = lab(checkout, "stop")
    assert ran.returncode == 1
    assert "lab.py stop: vagrant halt failed: the disk is full\n  next: free some space" in ran.stderr
    assert "vagrant.log" in ran.stderr
    assert "!!  switching the server off" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check"], "there is no server yet"),
        (["ssh"], "there is no server yet"),
        (["snapshot", "00"], "there is no server yet"),
        (["goto", "00"], "there is no server yet"),
        (["restore", "bare"], "there is no server yet"),
        (["destroy"], "destroy asks first, and there is no one to ask"),
    ],
)
def test_errors_name_the_next_step(checkout: Path, arguments: list[str], sentence: str) -> None:
    ran = lab(checkout, *arguments)
    assert ran.returncode == 1
    assert sentence in ran.stderr
    assert "\n  next: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_wrong_machine_name_distribution_or_port_is_refused(checkout: Path) -> None:
    assert "is no name for a machine" in lab(checkout, "stop", LAB_MACHINE="../x").stderr
    assert "PORT=99999 is no port" in lab(checkout, "lab", PORT="99999").stderr
