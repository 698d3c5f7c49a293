"""The machine, for the tests of this folder that need it: the same fixtures as in tests/vm."""

from tests.vm.conftest import internet, server, target

__all__ = ["internet", "server", "target"]
