#!/bin/bash
# item: 5
# depth: exercise
# looks right because: rule, timer, limits: everything about logrotate is right
# but: the application never looks whether its file was renamed
# says: still writes to the old
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/log_files.py
sed -i '/^ *self\.follow(name)$/d' "$file"
if grep -q 'self\.follow(' "$file"; then exit 1; fi
supervisorctl restart aiapp:
soon app_is_well
