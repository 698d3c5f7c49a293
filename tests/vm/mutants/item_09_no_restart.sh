#!/bin/bash
# item: 9
# depth: look
# looks right because: it is RUNNING
# but: it would stay down after a fall
# says: autorestart=false
# also: none
set -euo pipefail
conf=$(grep -l 'program:aiapp-8000' /etc/supervisor/conf.d/*.conf)
sed -i -e '/^autorestart/d' -e '/program:aiapp-8000/a autorestart=false' "$conf"
supervisorctl reread
supervisorctl update
soon app_is_well
