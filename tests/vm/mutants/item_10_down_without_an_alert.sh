#!/bin/bash
# item: 10
# depth: look
# looks right because: no alert fires, neither on the disk nor on anything else
# but: the machine's numbers do not come any more, and there is no alert on targets that are down
# says: gives Prometheus no numbers
# also: 11
set -euo pipefail
python3 - <<'THERE'
import pathlib, re
rules = pathlib.Path("/etc/prometheus/rules/aiapp.yml")
rules.write_text(re.sub(r"(?s)      - alert: TargetDown.*?(?=      - alert: )", "", rules.read_text()))
THERE
lab-pace
systemctl stop prometheus-node-exporter
systemctl reload prometheus
quiet() { ! curl -s http://127.0.0.1:9090/api/v1/rules | grep -q TargetDown; }
soon quiet
is_down() { curl -s 'http://127.0.0.1:9090/api/v1/query?query=up' | grep -q '"0"'; }
soon is_down
