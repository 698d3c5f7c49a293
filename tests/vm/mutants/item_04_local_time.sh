#!/bin/bash
# item: 4
# depth: look
# looks right because: timestamps have one form, with a Z behind them
# but: they are the time of New York
# says: timestamps are behind the server's clock
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/json_logs.py
sed -i 's/round(created \* 1e6)/round((created - 18000) * 1e6)/' "$file"
grep -q 'created - 18000' "$file"
supervisorctl restart aiapp:
soon app_is_well
