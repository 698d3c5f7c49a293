"""Time limits of a remote program, raised in its text for a test that is not about them."""

from __future__ import annotations

import re


def raised(program: str, **limits: float) -> str:
    """The program, with other seconds for these constants of its modules. Fails where one is not there."""
    for name, seconds in limits.items():
        # The sources stand in the program as repr() writes them, with \\n for each end of a line.
        program, count = re.subn(rf"(?<=\\n){name} = [0-9.]+", f"{name} = {seconds}", program)
        assert count == 1, f"{name}: {count} times in the program"
    return program
