# item: 1
# depth: look
# looks right because: the zone holds the right address again
# but: the world's resolver remembers the wrong one for another hour
# says: the caching resolver still says A 198.51.100.2
# also: 2, 3
set -euo pipefail
systemd-run --quiet --wait --pipe --machine=internet /bin/bash -s <<'THERE'
change() {
  printf 'server 198.51.100.54\nzone lab.example\nupdate delete app.lab.example A\nupdate add app.lab.example %s A %s\nsend\n' "$1" "$2" |
    nsupdate -k /root/provider.key
}
change 3600 198.51.100.2
systemctl restart unbound
until [[ $(dig +short @198.51.100.53 app.lab.example A) == 198.51.100.2 ]]; do :; done
change 60 198.51.100.10
THERE
