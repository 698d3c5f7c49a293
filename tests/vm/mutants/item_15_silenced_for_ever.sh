#!/bin/bash
# item: 15
# depth: look
# looks right because: the rule is loaded with the budget, and Alertmanager has a receiver
# but: a silence from a maintenance long ago keeps exactly this alert back
# says: a silence keeps back CostAboveBudget
# also: 10
set -euo pipefail
amtool silence add --alertmanager.url=http://127.0.0.1:9093 --author=admin --comment="until Monday" --duration=8760h \
  alertname=CostAboveBudget
