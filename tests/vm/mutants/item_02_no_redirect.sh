#!/bin/bash
# item: 2
# depth: look
# looks right because: https is all right, and the Caddyfile mentions automatic https
# but: http is not redirected any more: no program listens on port 80
# says: http at .*80/tcp: refused
# also: none
# apart: 3
set -euo pipefail
sed -i '0,/^{/s//{\n\tauto_https disable_redirects/' /etc/caddy/Caddyfile
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
