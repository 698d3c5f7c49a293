#!/bin/bash
# item: 15
# depth: exercise
# looks right because: every line of the log of calls has its cost
# but: with four digits: for a question that is 0
# says: not the same cost in ledger, log and metric
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/json_logs.py
sed -i 's/{value:f}/{value:.4f}/' "$file"
grep -q '{value:.4f}' "$file"
supervisorctl restart 'aiapp:*'
soon app_is_well
