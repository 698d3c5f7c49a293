#!/bin/bash
# item: 10
# depth: look
# looks right because: every rule fires, every route leads to a receiver, and the receiver is up
# but: it takes no message that comes with this key
# says: most notifications of Alertmanager fail
# also: none
set -euo pipefail
echo another > /etc/prometheus/pager.key
share='sum(increase(alertmanager_notification_requests_failed_total[5m])) / sum(increase(alertmanager_notification_requests_total[5m]))'
most_fail() {
  curl -s --data-urlencode "query=$share > 0.5" http://127.0.0.1:9090/api/v1/query | grep -q '"metric"'
}
soon most_fail
