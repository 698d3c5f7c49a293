#!/bin/bash
# item: 4
# depth: look
# looks right because: four log files, fresh, and every line in them is right
# but: a second process answers beside the first, and writes to none of them
# says: on port 8057 has no application and no access and no error and no metrics log open
# also: 10
set -euo pipefail
conf=$(grep -l 'program:aiapp-8000' /etc/supervisor/conf.d/*.conf)
sed -n '/^\[program:aiapp-8000\]/,/^$/p' "$conf" | sed -e 's/8000/8057/g' \
  -e 's#^stdout_logfile *=.*#stdout_logfile=/var/log/supervisor/second.log#' \
  -e 's#exec \.venv/bin/uvicorn#unset LOG_DIR; cd /; exec /home/aiapp/app/.venv/bin/uvicorn --app-dir /home/aiapp/app#' \
  > /etc/supervisor/conf.d/second.conf
grep -q 'unset LOG_DIR' /etc/supervisor/conf.d/second.conf
supervisorctl reread
supervisorctl update
soon answers 8057
