"""What is remembered of a machine, in files of its folder below .lab/."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choices:
    """What was chosen for a machine when it was made; the Vagrantfile reads it.

    `driver`: kvm or qemu for libvirt, else empty. `box`: of Docker, the image.
    """

    provider: str
    driver: str
    distro: str
    box: str
    box_version: str = ""

    @property
    def emulated(self) -> bool:
        """Whether the server's processor is emulated, and all of it about five times slower."""
        return self.driver == "qemu"


class State:
    """The memory of the machine whose files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def choices_file(self) -> Path:
        return self.folder / "choices.json"

    def choices(self) -> Choices | None:
        """What was chosen, or None where nothing (or nothing readable) was."""
        try:
            return Choices(**json.loads(self.choices_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def choose(self, choices: Choices) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.choices_file.write_text(json.dumps(asdict(choices), indent=2) + "\n", encoding="utf-8")

    def recall(self, key: str) -> str:
        """One remembered word, empty where there is none.

        `provisioned` and `bare` are hashes of what it was made from, `identity` is Vagrant's id, and
        `stands-at` the snapshot that was saved or restored last.
        """
        stamp = self.folder / f"{key}.stamp"
        return stamp.read_text(encoding="utf-8").strip() if stamp.exists() else ""

    def remember(self, key: str, word: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{key}.stamp").write_text(word + "\n", encoding="utf-8")

    def forget(self, *keys: str) -> None:
        for key in keys:
            (self.folder / f"{key}.stamp").unlink(missing_ok=True)
