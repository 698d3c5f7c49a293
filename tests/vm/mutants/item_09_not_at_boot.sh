#!/bin/bash
# item: 9
# depth: look
# looks right because: it is RUNNING, and restarts
# but: systemd does not start Supervisor at boot
# says: unit is disabled
# also: none
set -euo pipefail
systemctl disable supervisor
