#!/bin/bash
# item: 4
# depth: exercise
# looks right because: each answer has a request id, and so has each line
# but: where a client gave one, the answer has the client's, and the line another
# says: lacks a request
# also: none
set -euo pipefail
file=/home/aiapp/app/lab_app/middleware.py
sed -i -e 's/^\( *\)this_id = given if .*/\1this_id = f"{getrandbits(128):032x}"/' \
  -e 's/this_id\.encode()/(given or this_id).encode()/' "$file"
grep -q '(given or this_id)' "$file"
supervisorctl restart aiapp:
soon app_is_well
