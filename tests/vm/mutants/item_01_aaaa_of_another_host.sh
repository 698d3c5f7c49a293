#!/bin/bash
# item: 1
# on: internet
# depth: look
# looks right because: A and AAAA are there, the resolver and the authority agree, and something answers at both
# but: the AAAA record is another host's
# says: 2001:db8:100::2 is another host
# also: 2
# apart: 2 3
set -euo pipefail
knsupdate -k /root/provider.key <<'ZONE'
server 198.51.100.54
zone lab.example.
update delete app.lab.example. AAAA
update add app.lab.example. 60 AAAA 2001:db8:100::2
send
ZONE
systemctl restart unbound
soon resolves AAAA 2001:db8:100::2
