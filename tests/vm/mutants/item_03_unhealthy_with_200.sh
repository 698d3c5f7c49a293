#!/bin/bash
# item: 3
# depth: look
# looks right because: the status is 200, and that is all that most monitors look at
# but: the body says unhealthy
# says: status 200 with the body "unhealthy"
# also: none
set -euo pipefail
# Backticks are Caddy's quotes here.
# shellcheck disable=SC2016
sed -i '0,/^app\.lab\.example.*{/s//&\n\trespond \/health `{"status": "unhealthy", "components": {"openai_api": "unhealthy"}}` 200/' /etc/caddy/Caddyfile
caddy validate --config /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
