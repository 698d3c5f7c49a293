#!/bin/bash
# start-internet.sh: start the stand-in internet if it is not running; it does so by itself at each boot.
set -euo pipefail
if ! systemctl --quiet is-active shipshape-internet shipshape-reference; then
  echo "starting the stand-in internet"
  systemctl start --no-block shipshape-internet shipshape-reference
fi
