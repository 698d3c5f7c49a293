"""What a server is made from, as hashes: where one has changed, it is provisioned again, or made anew."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .progress import Problem

# Environment and files of the host that provisioning carries into the guest.
HOST_SETTINGS = re.compile(
    r"^(PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|(DEFAULT_)?TIMEOUT)|(https?|no)_proxy)$", re.I
)
HOST_FILES = (
    Path("/usr/local/share/ca-certificates"),
    Path("/etc/pip.conf"),
    Path("~/.pip/pip.conf").expanduser(),
    Path("~/.config/pip/pip.conf").expanduser(),
)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file that was written by a person, in a stable order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path


def fingerprint(places: Iterable[Path], words: Iterable[str] = ()) -> str:
    """A hash of files (whole folders too) and words."""
    parts = hashlib.sha256()
    for place in places:
        for path in files_below(place) if place.is_dir() else [place] if place.exists() else []:
            parts.update(f"{path}\0".encode() + path.read_bytes())
    for word in words:
        parts.update(word.encode() + b"\0")
    return parts.hexdigest()


def chapter_texts(checkout: Path) -> Iterator[str]:
    """Each chapter's name and prose: what the Vagrantfile takes of the notebooks. Raises Problem."""
    for path in sorted((checkout / "notebooks").glob("*.ipynb")):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        except (ValueError, KeyError, TypeError):
            raise Problem(f"{path.name} is no notebook", f"restore it: git checkout {path}") from None
        yield "\n\n".join([path.stem, *prose])


def provisioning_inputs(checkout: Path) -> str:
    """A hash of all that provisioning lays into the server."""
    sources = [checkout / "Vagrantfile", checkout / "lab_app", *HOST_FILES]
    sources += [checkout / "vagrant" / part for part in ("lab.env", "provision", "internet")]
    words = [f"{key}={value}" for key, value in sorted(os.environ.items()) if HOST_SETTINGS.match(key)]
    return fingerprint(sources, [*words, *chapter_texts(checkout)])


def machine_inputs(checkout: Path) -> str:
    """A hash of all that makes the machine from nothing: provisioning, and what it is made from."""
    images = [checkout / "vagrant" / part for part in ("server", "box", "container")]
    return fingerprint(images, [provisioning_inputs(checkout)])
