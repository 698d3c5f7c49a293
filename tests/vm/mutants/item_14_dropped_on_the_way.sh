#!/bin/bash
# item: 14
# depth: exercise
# looks right because: every process has the right address, the collector takes the key, and the command ends well
# but: a filter that was meant for one kind of error drops all of them
# says: a test error of the application's account is not taken
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/sentry.py
sed -i 's/^    if time.monotonic() - latest\[0\] < 60:/    if event:/' "$file"
grep -q '^    if event:' "$file"
supervisorctl restart 'aiapp:*'
soon app_is_well
