#!/bin/bash
# item: 3
# depth: exercise
# looks right because: while all is well, every answer is 200 and quick
# but: where a dependency is silent, /health waits for it longer than a client waits for /health
# says: takes longer than 1 s while
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/health.py
sed -i 's/^DEADLINE = 0\.7 /DEADLINE = 2.5 /' "$file"
grep -q '^DEADLINE = 2\.5 ' "$file"
# The proxy's own checks would leave a result for each client that comes within a second.
sed -i 's/^        if self\.task is None or .*:$/        if True:/' "$file"
grep -q '^        if True:$' "$file"
supervisorctl restart aiapp:
soon app_is_well
