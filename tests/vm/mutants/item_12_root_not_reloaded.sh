#!/bin/bash
# item: 12
# depth: look
# looks right because: no password is offered, and by its files sshd does not let root in
# but: it has not read that yet, and root's key still logs in
# says: was not reloaded after /etc/ssh/sshd_config\.d/00-root\.conf changed
# also: none
set -euo pipefail
echo 'PermitRootLogin prohibit-password' > /etc/ssh/sshd_config.d/00-root.conf
systemctl restart ssh
soon later_than /run/sshd.pid
echo 'PermitRootLogin no' > /etc/ssh/sshd_config.d/00-root.conf
effective 'permitrootlogin no'
