# item: 2
# depth: look
# looks right because: https is all right, and the Caddyfile mentions automatic https
# but: http is not redirected any more
# says: http at .*80/tcp
# also: none
set -euo pipefail
if grep -q '^{' /etc/caddy/Caddyfile; then
  sed -i '0,/^{/s//{\n\tauto_https disable_redirects/' /etc/caddy/Caddyfile
else
  sed -i '1i {\n\tauto_https disable_redirects\n}' /etc/caddy/Caddyfile
fi
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
