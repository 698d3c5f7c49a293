#!/bin/bash
# item: 14
# depth: look
# looks right because: SENTRY_DSN is in .env, and test errors arrive
# but: one process was started before it was there: a third of the errors is lost
# says: port 8000 was told of no collector
# also: none
set -euo pipefail
cp -p /home/aiapp/app/.env /home/aiapp/app/.env.whole
sed -i '/^SENTRY_DSN=/d' /home/aiapp/app/.env
supervisorctl restart aiapp:aiapp-8000
soon app_is_well
mv /home/aiapp/app/.env.whole /home/aiapp/app/.env
