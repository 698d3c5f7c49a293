"""labcheck: reach a server, look at it, judge it, and say why."""
