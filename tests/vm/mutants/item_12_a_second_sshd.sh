#!/bin/bash
# item: 12
# depth: look
# looks right because: the sshd on port 22 takes keys alone, and no other port is open in the firewall
# but: another one listens on 2222, with a configuration of its own, for logins from inside
# says: sshd on port 2222 has PasswordAuthentication yes
# also: none
set -euo pipefail
printf '%s\n' 'Port 2222' 'PidFile /run/sshd-rescue.pid' 'PasswordAuthentication yes' 'KbdInteractiveAuthentication no' \
  'PermitRootLogin no' 'UsePAM yes' > /etc/ssh/rescue_config
systemd-run --quiet --unit=second-sshd /usr/sbin/sshd -D -f /etc/ssh/rescue_config
soon listens 2222
