#!/bin/bash
# item: 3
# depth: exercise
# looks right because: the health answers are the application's own, and 200
# but: Caddy replaces every /health answer by a healthy one, and the components are dead letters
# says: stays well
# also: none
set -euo pipefail
# Backticks are Caddy's quotes here.
# shellcheck disable=SC2016
sed -i '0,/^app\.lab\.example.*{/s//&\n\trespond \/health `{"status": "healthy", "components": {"openai_api": {"status": "healthy"}, "database": {"status": "not_configured"}}}` 200/' /etc/caddy/Caddyfile
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
