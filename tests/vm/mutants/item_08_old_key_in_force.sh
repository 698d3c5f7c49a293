#!/bin/bash
# item: 8
# depth: look
# looks right because: after a leak there is a new key in .env, and everything works
# but: the application was not restarted: it works with the key that leaked
# says: has another OPENAI_API_KEY than /home/aiapp/app/\.env
# also: none
set -euo pipefail
sed -i 's/^OPENAI_API_KEY=.*/OPENAI_API_KEY=sk-lab-a-new-one-after-the-leak/' /home/aiapp/app/.env
