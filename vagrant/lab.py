#!/usr/bin/env python3
"""The lab's one tool: `python3 vagrant/lab.py help` lists what it does. The Makefile calls nothing else.

This file has to start on any Python, so that an old one gets a sentence and not a syntax error:
no f-strings, no annotations, no imports from the lab before the version is known.
"""

import os
import subprocess
import sys

OLDEST = (3, 11)
NEWEST = (3, 14)  # requirements.lock was made for Python 3.11 to 3.14


def newer_python():
    """The path of a Python that fits, or None; a name alone proves nothing, so each is run."""
    question = "import sys; print(sys.executable) if sys.version_info[:2] >= (3, 11) else sys.exit(1)"
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        try:
            out = subprocess.check_output(["python3." + str(minor), "-c", question], stderr=subprocess.PIPE)
        except (OSError, subprocess.CalledProcessError):
            continue
        return out.decode().strip()
    return None


def main():
    if sys.version_info[:2] < OLDEST:
        newer = newer_python()
        if newer is not None:
            if os.name == "posix":
                os.execv(newer, [newer] + sys.argv)  # noqa: RUF005 (unpacking is newer than some Pythons)
            sys.exit(subprocess.call([newer] + sys.argv))  # noqa: RUF005
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write("lab.py: this is Python " + found + ", and the lab needs Python 3.11 or newer\n")
        sys.stderr.write("  next: install it beside the old one, then run the same command again:\n")
        sys.stderr.write("        Ubuntu 22.04   sudo apt-get install python3.11 python3.11-venv\n")
        sys.stderr.write("        macOS          brew install python@3.13\n")
        sys.stderr.write("        Windows        winget install Python.Python.3.13\n")
        sys.exit(1)
    from host import command_line

    sys.exit(command_line.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
