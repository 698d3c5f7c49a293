"""Programs that travel: their source is sent to a host, and needs Python's standard library alone."""
