#!/bin/bash
# item: 9
# depth: look
# looks right because: supervisorctl status says RUNNING
# but: another instance runs beside it, started with nohup
# says: is no child of Supervisor
# also: 4, 8, 10, 13, 14
set -euo pipefail
cd /home/aiapp/app
nohup setsid runuser -u aiapp -- .venv/bin/uvicorn lab_app.main:app --host 127.0.0.1 --port 8056 >/dev/null 2>&1 </dev/null &
soon answers 8056
