#!/bin/bash
# item: 9
# depth: look
# looks right because: it is RUNNING, and restarts
# but: a stop reaches the first process alone
# says: no stopasgroup=true|without killasgroup
# also: none
set -euo pipefail
conf=$(grep -l 'program:aiapp-8000' /etc/supervisor/conf.d/*.conf)
sed -i -e '/^stopasgroup/d' -e '/^killasgroup/d' "$conf"
supervisorctl reread
supervisorctl update
soon app_is_well
