#!/bin/bash
# item: 10
# depth: look
# looks right because: all targets are up, and the numbers grow
# but: one of the three processes is not among them: what fails there is in no sum
# says: Prometheus does not ask the application's process on port 8002
# also: none
set -euo pipefail
sed -i 's/, "127\.0\.0\.1:8002"//' /etc/prometheus/prometheus.yml
lab-pace
systemctl reload prometheus
gone() { ! curl -s http://127.0.0.1:9090/api/v1/targets | grep -q 127.0.0.1:8002; }
soon gone
