#!/bin/bash
# item: 12
# depth: look
# looks right because: sshd_config says PasswordAuthentication no, in a line of its own, and sshd was reloaded
# but: a drop-in is read first, and of two values the first counts
# says: by its files, sshd on port 22 has PasswordAuthentication yes
# also: none
set -euo pipefail
rm -f /etc/ssh/sshd_config.d/*.conf
echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/50-cloud-init.conf
printf '%s\n' 'PasswordAuthentication no' 'KbdInteractiveAuthentication no' 'PermitRootLogin no' >> /etc/ssh/sshd_config
sshd -t
systemctl reload ssh
effective 'passwordauthentication yes'
