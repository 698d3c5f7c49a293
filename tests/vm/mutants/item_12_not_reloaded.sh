#!/bin/bash
# item: 12
# depth: exercise
# looks right because: the files are right, sshd -T says so, and sshd runs
# but: it runs with what they said before
# says: was not reloaded: it offers password
# also: none
set -euo pipefail
echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/00-before.conf
systemctl restart ssh
rm /etc/ssh/sshd_config.d/00-before.conf
effective 'passwordauthentication no'
