"""What a program that travels begins with: an importer for the modules that are sent along with it.

They stay in memory: nothing of them is ever on the disk of the host that they run on (remote_program.py).
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType


class SentModules(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Finds and loads modules in these sources, by their path: `labcheck/remote/procfs.py`.

    Tracebacks name that path, and the line in it.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if self._path(fullname) else None

    def get_filename(self, fullname: str) -> str:
        if path := self._path(fullname):
            return path
        raise ImportError(f"{fullname} was not sent along", name=fullname)

    def get_source(self, fullname: str) -> str:
        return self.sources[self.get_filename(fullname)]

    def is_package(self, fullname: str) -> bool:
        return self.get_filename(fullname).endswith("/__init__.py")

    def _path(self, fullname: str) -> str:
        base = fullname.replace(".", "/")
        return next((path for path in (f"{base}/__init__.py", f"{base}.py") if path in self.sources), "")


def make_importable(sources: Mapping[str, str]) -> None:
    """From now on `import` finds these modules, before any that the host has under the same name."""
    sys.meta_path.insert(0, SentModules(sources))
