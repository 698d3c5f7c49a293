#!/bin/bash
# item: 4
# depth: look
# looks right because: every request has an ip_address
# but: it is the proxy's, for every client
# says: logged with the ip_address 127\.0\.0\.1
# also: 13
set -euo pipefail
sed -i 's#lab_app\.main:app#lab_app.main:app --no-proxy-headers#' /etc/supervisor/conf.d/*.conf
supervisorctl reread
supervisorctl update
soon app_is_well
