#!/bin/bash
# item: 10
# depth: look
# looks right because: the file has the right rules, and the tests pass on it
# but: Prometheus still goes by the old ones, in which the health may be bad for an hour
# says: has to hold for
# also: none
set -euo pipefail
sed -i 's/for: 6s/for: 60m/' /etc/prometheus/lab/rules/aiapp.yml
systemctl reload prometheus
loaded() { curl -s http://127.0.0.1:9090/api/v1/rules | grep -q '"duration":3600'; }
soon loaded
lab-pace
