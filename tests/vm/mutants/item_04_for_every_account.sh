#!/bin/bash
# item: 4
# depth: look
# looks right because: the logs are there, fresh, and as they should be
# but: every account on the server can read which client asked for what
# says: every account can read app\.log
# also: none
set -euo pipefail
chmod o+rx /var/log/aiapp
chmod o+r /var/log/aiapp/*.log
