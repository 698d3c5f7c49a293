#!/bin/bash
# item: 10
# depth: look
# looks right because: promtool finds the rules good, Prometheus evaluates them, and nothing fires
# but: no status is spelled 5xx: the alert on errors counts nothing, whatever fails
# says: does not count status 500, 502, 503 as an error
# also: none
set -euo pipefail
sed -i 's/5\.\./5xx/' /etc/prometheus/rules/aiapp.yml
promtool check rules /etc/prometheus/rules/aiapp.yml
lab-pace
systemctl reload prometheus
loaded() { curl -s http://127.0.0.1:9090/api/v1/rules | grep -q 5xx; }
soon loaded
