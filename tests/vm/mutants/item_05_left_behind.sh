#!/bin/bash
# item: 5
# depth: look
# looks right because: logs were rotated, and new ones are there
# but: the application still writes to what was put aside
# says: app\.log\.1.* is still written to
# also: 4
set -euo pipefail
file=/home/aiapp/app/lab_app/log_files.py
sed -i 's/^        self\.follow()$/        if self.fd < 0:\n            self.follow()/' "$file"
grep -q 'if self\.fd < 0:$' "$file"
supervisorctl restart aiapp:
soon app_is_well
logrotate --force /etc/logrotate.d/aiapp
