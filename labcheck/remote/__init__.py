"""Programs that travel: one with a `main` is sent to a host, with the modules from here that it imports.

They import each other and Python's standard library alone, and run on Python 3.9 (Debian 11's). On the host
they are in memory only: see labcheck/remote_program.py. What they share is in procfs, secrets, timestamps,
local_http, permissions and output.
"""
