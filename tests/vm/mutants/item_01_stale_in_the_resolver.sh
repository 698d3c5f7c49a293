#!/bin/bash
# item: 1
# on: internet
# depth: look
# looks right because: the zone holds the right address again
# but: the world's resolver remembers the wrong one for another hour
# says: the caching resolver still says A 198.51.100.2 and
# also: 2
# apart: 2 3
set -euo pipefail
change() {
  printf '%s\n' 'server 198.51.100.54' 'zone lab.example.' 'update delete app.lab.example. A' \
    "update add app.lab.example. $1 A $2" send | knsupdate -k /root/provider.key
}
change 3600 198.51.100.2
systemctl restart unbound
soon resolves A 198.51.100.2
change 60 198.51.100.10
[[ $(dig +short app.lab.example A @ns1.lab.example) == 198.51.100.10 ]]
