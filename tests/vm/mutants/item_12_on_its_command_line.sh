#!/bin/bash
# item: 12
# depth: look
# looks right because: sshd -T says no, and no file below /etc/ssh says anything else
# but: the one that runs was started with an option, which goes before all files
# says: by its files, sshd on port 22 has PasswordAuthentication yes
# also: none
set -euo pipefail
echo 'SSHD_OPTS="-o PasswordAuthentication=yes"' > /etc/default/ssh
systemctl restart ssh
effective 'passwordauthentication no'
