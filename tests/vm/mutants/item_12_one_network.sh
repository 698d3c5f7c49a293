#!/bin/bash
# item: 12
# depth: look
# looks right because: sshd -T says no to passwords, and so does sshd to every client from outside
# but: a Match block lets one account have them from the provider's network
# says: PasswordAuthentication yes for vagrant from 10\.
# also: none
set -euo pipefail
printf '%s\n' 'Match User vagrant Address 10.0.0.0/8' '  PasswordAuthentication yes' >> /etc/ssh/sshd_config
sshd -t
systemctl reload ssh
