#!/bin/bash
# item: 8
# depth: look
# looks right because: the application runs with all its settings, and .env is closed
# but: it reads them from the file by itself: its environment, which a host could fill in another way, has none
# says: in its environment, and /home/aiapp/app/\.env has one
# also: 13, 14, 15
set -euo pipefail
sed -i 's/set -a; \. \.\/\.env; //' /etc/supervisor/conf.d/*.conf
if grep -q 'set -a' /etc/supervisor/conf.d/*.conf; then exit 1; fi
supervisorctl reread
supervisorctl update
soon app_is_well
