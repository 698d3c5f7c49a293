#!/bin/bash
# item: 6
# depth: look
# looks right because: ufw is active and denies by default
# but: a rule lets 8000 in, and uvicorn listens on all addresses
# says: 8000/tcp answers from outside.*0\.0\.0\.0
# also: none
set -euo pipefail
sed -i 's/--host 127\.0\.0\.1/--host 0.0.0.0/' /etc/supervisor/conf.d/*.conf
ufw allow 8000
supervisorctl reread
supervisorctl update
soon app_is_well
