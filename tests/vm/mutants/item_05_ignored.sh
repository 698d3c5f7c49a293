#!/bin/bash
# item: 5
# depth: look
# looks right because: the rule is in /etc/logrotate.d, word for word
# but: its group may write to it, and so logrotate ignores it
# says: no rule for app\.log, access\.log
# also: none
set -euo pipefail
chmod 664 /etc/logrotate.d/aiapp
