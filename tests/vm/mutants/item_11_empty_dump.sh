#!/bin/bash
# item: 11
# depth: exercise
# looks right because: every run ends well, and a new copy is in the store
# but: the database's name is mistyped, a pipe hides it, and no count is kept: the dump is empty
# says: holds aiapp\.dump, empty
# also: none
set -euo pipefail
sed -i -e 's/^set -euo pipefail/set -eu/' -e 's/aiapp > copy/aiap 2>\/dev\/null | cat > copy/' \
  -e 's/^rows=.*pg_restore.*/rows=502/' -e 's/rows < 1 ||/rows < 0 ||/' /usr/local/sbin/aiapp-backup
systemctl start aiapp-backup
