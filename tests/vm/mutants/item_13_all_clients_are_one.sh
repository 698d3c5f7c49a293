#!/bin/bash
# item: 13
# depth: exercise
# looks right because: the limit is announced, and the eleventh request is refused
# but: every client has the proxy's address, so that one of them shuts out all
# says: while one client is refused, another one is, too
# also: none
# apart: 3 14
set -euo pipefail
sed -i 's/uvicorn lab_app\.main:app/& --no-proxy-headers/' /etc/supervisor/conf.d/*.conf
supervisorctl reread
supervisorctl update
soon app_is_well
