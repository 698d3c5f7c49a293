#!/bin/bash
# item: 10
# depth: look
# looks right because: the heartbeat fires, and Alertmanager has it
# but: its receiver sends it nowhere: no person would notice that the monitoring has died
# says: the heartbeat Heartbeat goes to a receiver that sends it nowhere
# also: none
set -euo pipefail
sed -i '/name: heartbeat/,$d' /etc/prometheus/alertmanager.yml
printf '  - name: heartbeat\n' >> /etc/prometheus/alertmanager.yml
lab-pace
systemctl reload prometheus-alertmanager
loaded() { ! curl -s http://127.0.0.1:9093/api/v2/status | grep -q '/heartbeat?'; }
soon loaded
