#!/bin/bash
# item: 13
# depth: exercise
# looks right because: every answer states the limit, and how many requests are left
# but: no request is ever refused
# says: and none was refused
# also: none
# apart: 3 14
set -euo pipefail
file=/home/aiapp/app/lab_app/rate_limit.py
sed -i 's/^        if not allowed:$/        if allowed is None:/' "$file"
grep -q 'if allowed is None:' "$file"
supervisorctl restart 'aiapp:*'
soon app_is_well
