#!/bin/bash
# item: 9
# depth: exercise
# looks right because: the file says autorestart=true, and it is RUNNING
# but: supervisord still holds the setting that the file had before
# says: was killed, and stays down
# also: none
set -euo pipefail
conf=$(grep -l 'program:aiapp-8000' /etc/supervisor/conf.d/*.conf)
cp "$conf" /root/aiapp.conf.right
sed -i -e '/^autorestart/d' -e '/program:aiapp-8000/a autorestart=false' "$conf"
supervisorctl reread
supervisorctl update
soon app_is_well
cp /root/aiapp.conf.right "$conf"
