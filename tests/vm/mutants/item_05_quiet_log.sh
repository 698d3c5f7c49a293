#!/bin/bash
# item: 5
# depth: look
# looks right because: the rule deletes after thirty days
# but: it is not asked while a log is empty: the copies of a quiet log stay for years
# says: while a log is empty, its predecessors stay
# also: none
set -euo pipefail
sed -i 's/^}/    notifempty\n}/' /etc/logrotate.d/aiapp
grep -q notifempty /etc/logrotate.d/aiapp
