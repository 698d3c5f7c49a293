#!/bin/bash
# item: 5
# depth: look
# looks right because: the rule is loaded, and the timer hourly
# but: the folder is its group's to write in, and so logrotate leaves every log in it alone
# says: alone: parent directory has insecure permissions
# also: none
set -euo pipefail
chmod g+w /var/log/aiapp
sed -i '/^ *su /d' /etc/logrotate.d/aiapp
