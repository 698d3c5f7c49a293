#!/bin/bash
# make-internet-disk.sh: the disk of the stand-in internet, where the box did not bring it (boxes of the catalogue).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=vagrant/lab.env
. "$here/../lab.env"

missing=()
command -v systemd-nspawn > /dev/null || missing+=(systemd-container)
systemctl cat systemd-resolved > /dev/null 2>&1 || missing+=(systemd-resolved)
[ -e "$LAB_INTERNET_IMAGE" ] || missing+=(mmdebstrap)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  apt-get -qq update
  before=$(dpkg-query --show --showformat '${Package}\n' | sort)
  apt-get -qq install --no-install-recommends "${missing[@]}" > /dev/null
fi

if ! [ -e "$LAB_INTERNET_IMAGE" ]; then
  install -d -m 700 "$(dirname "$LAB_INTERNET_IMAGE")"
  echo "making the stand-in internet's disk: a minute, or eight on an emulated machine"
  "$here/../internet/build-image.sh" "$LAB_INTERNET_IMAGE" 2G > /var/log/shipshape-build.log 2>&1 \
    || { tail -n 20 /var/log/shipshape-build.log >&2; exit 1; }
  rm /var/log/shipshape-build.log
  # The tools that made it leave again, with what came along.
  dpkg-query --show --showformat '${Package}\n' | sort | comm -13 <(echo "$before") - \
    | grep -vxE 'systemd-container|systemd-resolved|libnss-.*' | xargs apt-get -qq purge > /dev/null
fi
# A new server has no package lists yet.
[ ${#missing[@]} -eq 0 ] || find /var/lib/apt/lists -type f -delete

# Every block is the file's own from now on: a full server disk cannot take one away.
if [ "$(stat --format '%b' "$LAB_INTERNET_IMAGE")" -lt $(( $(stat --format '%s' "$LAB_INTERNET_IMAGE") / 512 )) ]; then
  echo "reserving the stand-in internet's disk"
  fallocate --length "$(stat --format '%s' "$LAB_INTERNET_IMAGE")" "$LAB_INTERNET_IMAGE"
fi
