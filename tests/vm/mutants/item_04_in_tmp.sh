#!/bin/bash
# item: 4
# depth: look
# looks right because: /var/log/aiapp has the four logs, and their last lines are a minute old
# but: since it was restarted, the application writes to a folder that the next reboot empties
# says: logs are written to /tmp/aiapp_logs, which does not last
# also: 5, 13, 15
set -euo pipefail
sed -i 's#exec \.venv/bin/uvicorn#exec env LOG_DIR=/tmp/aiapp_logs .venv/bin/uvicorn#' /etc/supervisor/conf.d/*.conf
supervisorctl reread
supervisorctl update
soon test -s /tmp/aiapp_logs/app.log
soon app_is_well
