#!/bin/bash
# mark-lab.sh: wait until everything answers, then leave the mark by which a lab server is known.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=vagrant/lab.env
. "$here/../lab.env"
echo "waiting until the stand-in internet answers"
/usr/local/lib/shipshape/lab-ready
if ! [ -e "$LAB_MARKER" ]; then
  echo "marking the server as one of the lab"
  echo "This server was made by the deployment lab: it may be broken on purpose." > "$LAB_MARKER"
fi
