#!/bin/bash
# item: 11
# depth: look
# looks right because: backups are made as they should be, encrypted and away
# but: a dump of an earlier attempt lies in /var/backups, and every account may read it
# says: may read /var/backups/aiapp\.sql\.gz, a dump of a database
# also: none
set -euo pipefail
runuser -u postgres -- env -C / pg_dump aiapp | gzip > /var/backups/aiapp.sql.gz
chmod 644 /var/backups/aiapp.sql.gz
