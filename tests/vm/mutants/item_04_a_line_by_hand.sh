#!/bin/bash
# item: 4
# depth: look
# looks right because: the application writes nothing but JSON
# but: the person who deploys it writes a line of text
# says: app\.log has lines that are not JSON
# also: none
set -euo pipefail
echo 'deployed by hand' >> /var/log/aiapp/app.log
