#!/bin/bash
# item: 3
# depth: look
# looks right because: Redis runs, accepts connections, and answers each PING
# but: its memory is full and it may throw nothing away, so that it refuses every value
# says: degraded \(cache\)
# also: 13
set -euo pipefail
redis-cli config set maxmemory-policy noeviction
redis-cli config set maxmemory 1kb
[[ $(redis-cli ping) = PONG ]]
redis-cli set lab-mutant 1 | grep -q '^OOM'
