#!/bin/bash
# item: 5
# depth: exercise
# looks right because: rule, timer, limits: everything about logrotate is right
# but: the application never looks whether its file was renamed
# says: still writes to the old
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/log_files.py
sed -i 's/^\( *settled =\) self\.is_settled()$/\1 True/' "$file"
grep -q '^ *settled = True$' "$file"
supervisorctl restart aiapp:
soon app_is_well
