#!/bin/bash
# item: 11
# depth: exercise
# looks right because: every run ends well, the dump is not empty, and pg_restore reads it
# but: it holds the tables, and not what is in them
# says: what came back of aiapp: usage lacks rows that are here
# also: none
set -euo pipefail
sed -i -e 's/--compress=0/--compress=0 --schema-only/' -e 's/^rows=.*pg_restore.*/rows=502/' \
  /usr/local/sbin/aiapp-backup
systemctl start aiapp-backup
