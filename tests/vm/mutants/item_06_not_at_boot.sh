#!/bin/bash
# item: 6
# depth: look
# looks right because: the rules are loaded, and nothing else answers
# but: nothing loads them at the next boot
# says: no firewall will be there after a reboot
# also: none
set -euo pipefail
systemctl disable ufw
