#!/bin/bash
# item: 11
# depth: look
# looks right because: the rules are loaded, and none fires
# but: the run's number no longer arrives, and a rule without a number never fires
# says: BackupTooOld compares a number that no target reports
# also: 10
set -euo pipefail
rm /var/lib/prometheus/node-exporter/aiapp_backup.prom
gone() { curl -s "http://127.0.0.1:9090/api/v1/query?query=aiapp_backup_last_success_timestamp_seconds" | grep -q '"result":\[\]'; }
soon gone
