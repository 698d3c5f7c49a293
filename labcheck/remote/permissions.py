"""What every account of this host may do with a file."""

from __future__ import annotations

import functools
import stat
from pathlib import Path


def world_readable(path: Path) -> bool:
    """Whether every account may read a file, where it is in the end."""
    return bool(path.stat().st_mode & stat.S_IROTH) and world_enterable(path.resolve().parent)


@functools.lru_cache(None)
def world_enterable(place: Path) -> bool:
    """Whether it is a folder, and none on the way to it keeps other accounts out."""
    folder = place.resolve()
    return folder.is_dir() and all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))
