#!/bin/bash
# item: 2
# depth: look
# looks right because: https answers, with HTTP/2 and the right name in the certificate
# but: Caddy signed the certificate itself (tls internal)
# says: is not trusted
# also: none
# apart: 3
set -euo pipefail
sed -i '0,/^app\.lab\.example.*{/s//&\n\ttls internal/' /etc/caddy/Caddyfile
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
