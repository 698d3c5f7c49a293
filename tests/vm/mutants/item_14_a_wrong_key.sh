#!/bin/bash
# item: 14
# depth: exercise
# looks right because: every process has a SENTRY_DSN, and the collector answers
# but: one letter of the key was lost on the way; each error is refused, and no person learns of it
# says: refuses the key
# also: none
set -euo pipefail
sed -i -E 's|^(SENTRY_DSN=https://)[0-9a-f]{4}|\10000|' /home/aiapp/app/.env
supervisorctl restart 'aiapp:*'
soon app_is_well
