#!/bin/bash
# item: 13
# depth: exercise
# looks right because: the limit is announced, and the eleventh request of an honest client is refused
# but: Caddy hands on whatever a client says about its address
# says: let in again with a forged X-Forwarded-For
# also: none
# apart: 3 14
set -euo pipefail
line='header_up X-Forwarded-For {http.request.header.X-Forwarded-For}'
sed -i -E "/^[[:space:]]*reverse_proxy /{s/\{[[:space:]]*$/{\n\t\t$line/;t;s/$/ {\n\t\t$line\n\t}/}" /etc/caddy/Caddyfile
caddy validate --adapter caddyfile --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
