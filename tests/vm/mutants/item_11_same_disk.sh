#!/bin/bash
# item: 11
# depth: look
# looks right because: restic, a timer, a good copy of today, encrypted
# but: the store was "for a moment" moved to a folder of the same server
# says: /var/backups/store is on this server
# also: none
set -euo pipefail
sed -i 's#^RESTIC_REPOSITORY=.*#RESTIC_REPOSITORY=/var/backups/store#' /etc/aiapp-backup/environment
aiapp-restic init > /dev/null
systemctl start aiapp-backup
