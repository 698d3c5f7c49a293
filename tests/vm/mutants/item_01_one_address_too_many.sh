#!/bin/bash
# item: 1
# on: internet
# depth: look
# looks right because: the server's own addresses are there, and every look-up agrees
# but: a second A record leads to an address without a host
# says: no host at 198.51.100.200
# also: 2
# apart: 2 3
set -euo pipefail
knsupdate -k /root/provider.key <<'ZONE'
server 198.51.100.54
zone lab.example.
update add app.lab.example. 60 A 198.51.100.200
send
ZONE
systemctl restart unbound
soon resolves A 198.51.100.200
