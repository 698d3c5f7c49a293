#!/bin/bash
# item: 10
# depth: look
# looks right because: targets, rules and receiver are as they should be
# but: an administrator silenced everything that is critical, for ten years
# says: a silence keeps critical alerts quiet
# also: 15
set -euo pipefail
amtool silence add --alertmanager.url=http://127.0.0.1:9093 --author=me --comment="only for tonight" \
  --duration=87600h severity=critical
