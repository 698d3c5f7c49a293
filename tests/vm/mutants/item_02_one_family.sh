#!/bin/bash
# item: 2
# depth: look
# looks right because: a browser that uses IPv4 sees nothing wrong
# but: no program listens on 443 at the address of the AAAA record
# says: no TLS at 2001:db8:100::10.*refused
# also: none
# apart: 3
set -euo pipefail
sed -i '0,/^app\.lab\.example.*{/s//&\n\tbind 198.51.100.10 127.0.0.1/' /etc/caddy/Caddyfile
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
