#!/bin/bash
# item: 13
# depth: look
# looks right because: every process has REDIS_URL, answers, and states the limit
# but: no program answers there, so that each process counts for itself
# says: no program listens at .*:6379
# also: 3
# apart: 3 14
set -euo pipefail
systemctl stop redis-server
