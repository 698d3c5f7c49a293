#!/bin/bash
# item: 6
# depth: look
# looks right because: nothing but the three answers from outside
# but: a rule lets 5432 in, and waits for PostgreSQL
# says: lets 5432/tcp through
# also: none
set -euo pipefail
ufw allow 5432/tcp
