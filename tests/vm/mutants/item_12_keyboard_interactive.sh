#!/bin/bash
# item: 12
# depth: look
# looks right because: PasswordAuthentication is no, and sshd -T agrees
# but: PAM asks for the same password in another method
# says: by its files, sshd on port 22 has KbdInteractiveAuthentication yes
# also: none
set -euo pipefail
printf '%s\n' 'KbdInteractiveAuthentication yes' 'UsePAM yes' > /etc/ssh/sshd_config.d/00-a-second-factor.conf
sshd -t
systemctl reload ssh
effective 'kbdinteractiveauthentication yes'
