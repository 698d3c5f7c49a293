#!/bin/bash
# item: 10
# depth: look
# looks right because: the probe succeeds, and its alert is critical and waits for two minutes
# but: it visits the blackbox exporter itself, which is always well
# says: does not look at https://app\.lab\.example/health
# also: none
set -euo pipefail
sed -i 's#https://app.lab.example/health#http://127.0.0.1:9115/#' /etc/prometheus/prometheus.yml
lab-pace
systemctl reload prometheus
# What it visited before is still there for two rounds.
visited() { curl -s 'http://127.0.0.1:9090/api/v1/query?query=probe_success' | jq -r '.data.result[].metric.instance'; }
only_itself() { [ "$(visited)" = http://127.0.0.1:9115/ ]; }
soon only_itself
