#!/bin/bash
# item: 11
# depth: look
# looks right because: a good copy of today is in the store, and no alert fires
# but: an administrator switched the timer off for the night
# says: aiapp-backup\.timer is off
# also: none
set -euo pipefail
systemctl --quiet disable --now aiapp-backup.timer
