#!/bin/bash
# item: 7
# depth: look
# looks right because: what listens on 8000 runs under aiapp
# but: a second instance, started by hand, runs as root
# says: runs as root
# also: 4, 8, 9, 10, 13, 14
set -euo pipefail
systemd-run --quiet --unit=by-hand --working-directory=/home/aiapp/app /home/aiapp/app/.venv/bin/uvicorn lab_app.main:app --host 127.0.0.1 --port 8055
soon answers 8055
