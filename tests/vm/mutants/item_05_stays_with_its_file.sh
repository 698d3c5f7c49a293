#!/bin/bash
# item: 5
# depth: exercise
# looks right because: rule, timer, limits: everything about logrotate is right
# but: the application never looks whether its file was renamed
# says: still writes to the old
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/log_files.py
sed -i 's/^        self\.follow()$/        if self.fd < 0:\n            self.follow()/' "$file"
grep -q 'if self\.fd < 0:$' "$file"
supervisorctl restart aiapp:
soon app_is_well
