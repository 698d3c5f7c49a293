#!/bin/bash
# item: 15
# depth: look
# looks right because: Prometheus has an alert on the cost of a day, with the right number in it
# but: the rules with the warning before it are in a file that is not loaded any more
# says: and not before
# also: none
# apart: 10
set -euo pipefail
mv /etc/prometheus/lab/rules/cost.yml /etc/prometheus/lab/rules/cost.yml.old
systemctl reload prometheus
rules='http://127.0.0.1:9090/api/v1/rules?type=alert'
gone() { curl -s "$rules" | jq -e '[.data.groups[].rules[].name] | index("CostAboveBudget") == null' > /dev/null; }
soon gone
