"""Vagrant's output, folded into steps that a person sees."""

from __future__ import annotations

import re
from contextlib import ExitStack
from types import TracebackType

from .progress import Step, step

# Vagrant's own words -> the step that a person sees.
MILESTONES = (
    (
        re.compile(r"Adding box|could not be found\. Attempting|Downloading:|Uploading base box"),
        "fetching the box",
    ),
    (
        re.compile(r"Creating image|Creating domain|Importing base box|Cloning VM|Creating the container"),
        "creating the server",
    ),
    (
        re.compile(
            r"Starting domain|Booting VM|Starting the VM|Resuming|Starting container|to become available"
        ),
        "booting the server",
    ),
    (re.compile(r"Running provisioner: (\S+)"), "provisioning: {}"),
)


class Phases:
    """Folds Vagrant's output into steps: each milestone ends one and begins the next."""

    def __init__(self, first: str) -> None:
        self.stack = ExitStack()
        self.title = first

    def __enter__(self) -> Phases:
        self.current: Step = self.stack.enter_context(step(self.title))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    def see(self, text: str) -> None:
        """Take one line of output."""
        plain = re.sub(r"^(==> |    )[\w.-]+: ?", "", text).strip()
        for pattern, title in MILESTONES:
            milestone = pattern.search(plain)
            if text.startswith("==> ") and milestone:
                words = title.format(*(group.replace("-", " ") for group in milestone.groups()))
                if words != self.title:
                    self.stack.close()
                    self.title = words
                    self.current = self.stack.enter_context(step(words))
                return
        if plain:
            self.current.detail = plain.rsplit("\r", 1)[-1]
