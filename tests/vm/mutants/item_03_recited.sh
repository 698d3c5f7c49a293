#!/bin/bash
# item: 3
# depth: look
# looks right because: every health path answers 200 and says healthy
# but: Caddy recites it: the application is not asked
# says: the very same body
# also: 4
set -euo pipefail
# Backticks are Caddy's quotes here.
# shellcheck disable=SC2016
sed -i '0,/^app\.lab\.example.*{/s//&\n\trespond \/health* `{"status": "healthy", "components": {"openai_api": "healthy"}}` 200/' /etc/caddy/Caddyfile
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
