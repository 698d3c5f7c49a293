#!/bin/bash
# mark-lab.sh: wait until everything answers, then leave the mark by which a lab server is known.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=vagrant/lab.env
. "$here/../lab.env"
echo "waiting until the stand-in internet answers"
/usr/local/lib/shipshape/lab-ready
for place in "" /run/shipshape/internet; do
  if ! [ -e "$place$LAB_MARKER" ]; then
    echo "marking as one of the lab: ${place:-the server}"
    install -D -m 644 /dev/stdin "$place$LAB_MARKER" <<< "This machine was made by the deployment lab: it may be broken on purpose."
  fi
done
