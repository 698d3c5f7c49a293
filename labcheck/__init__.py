"""labcheck: reach a server, observe it, judge it, and say why."""
