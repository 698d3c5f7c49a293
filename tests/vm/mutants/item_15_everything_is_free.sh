#!/bin/bash
# item: 15
# depth: exercise
# looks right because: every call has a row, a line and a metric, and all three agree
# but: the price table says 0 for this model
# says: the ledger has it for nothing
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/llm.py
sed -i 's/return round(price, 10)/return round(price * 0, 10)/' "$file"
grep -q 'round(price \* 0, 10)' "$file"
supervisorctl restart 'aiapp:*'
soon app_is_well
