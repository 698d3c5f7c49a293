#!/bin/bash
# item: 5
# depth: look
# looks right because: the rule keeps thirty, and deletes after thirty days
# but: thirty files are thirty hours where each hour brings 100 MB
# says: 30 predecessors, which in a busy time are 30 hours
# also: none
set -euo pipefail
sed -i 's/^ *rotate .*/    rotate 30/' /etc/logrotate.d/aiapp
grep -q ' rotate 30$' /etc/logrotate.d/aiapp
