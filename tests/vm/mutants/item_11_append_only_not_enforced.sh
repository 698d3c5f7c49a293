#!/bin/bash
# item: 11
# on: internet
# depth: exercise
# looks right because: the server's key has a forced command, gets no shell, and backups arrive
# but: the command takes deletions, too
# says: would delete copies for the server
# also: none
set -euo pipefail
sed -i 's/ --append-only//' /srv/offsite/.ssh/authorized_keys
grep -q 'rclone serve restic' /srv/offsite/.ssh/authorized_keys
