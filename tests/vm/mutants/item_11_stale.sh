#!/bin/bash
# item: 11
# on: internet
# depth: exercise
# looks right because: the timer runs, its last run ended well, and its number is fresh
# but: the newest copy in the store is three days old
# says: the newest copy in the store is older than a day
# also: none
set -euo pipefail
cd /root/keeper
fresh=$(./restic snapshots --json | grep -o '"short_id":"[0-9a-f]*"' | cut -d '"' -f 4)
./restic restore --quiet latest --target /root/keeper/back
./restic backup --quiet --tag aiapp --time "$(date -d '3 days ago' '+%F %T')" /root/keeper/back
# shellcheck disable=SC2086  # one word each
./restic forget --quiet $fresh
rm -rf /root/keeper/back
