#!/bin/bash
# item: 8
# depth: look
# looks right because: the application has its secrets from the environment, and .env belongs to its account
# but: it was written with the usual umask, and every account may read it
# says: /home/aiapp/app/\.env is open to every account \(mode 0644\)
# also: none
set -euo pipefail
chmod 644 /home/aiapp/app/.env
