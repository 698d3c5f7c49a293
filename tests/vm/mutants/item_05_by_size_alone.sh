#!/bin/bash
# item: 5
# depth: look
# looks right because: the rule says daily, and size 100M
# but: size takes the place of daily: a quiet log is never put aside, and what is in it never deleted
# says: no limit by age
# also: none
set -euo pipefail
sed -i -e '/^ *maxsize/d' -e 's/^}/    size 100M\n}/' /etc/logrotate.d/aiapp
grep -q ' size 100M' /etc/logrotate.d/aiapp
