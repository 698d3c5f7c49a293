#!/bin/bash
# item: 8
# depth: look
# looks right because: .env is closed, and the application's folder holds nothing else
# but: an editor that was killed left what it had open, where every account may read it
# says: are in a copy that every account may read: /var/tmp/
# also: none
set -euo pipefail
install -o aiapp -m 644 /home/aiapp/app/.env /var/tmp/.env.swp
