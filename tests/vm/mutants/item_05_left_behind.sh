#!/bin/bash
# item: 5
# depth: look
# looks right because: logs were rotated, and new ones are there
# but: the application still writes to what was put aside
# says: app\.log\.1.* is still written to
# also: 4, 15
set -euo pipefail
file=/home/aiapp/app/lab_app/log_files.py
sed -i 's/^\( *settled =\) self\.is_settled()$/\1 True/' "$file"
grep -q '^ *settled = True$' "$file"
supervisorctl restart aiapp:
soon app_is_well
logrotate --force /etc/logrotate.d/aiapp
