#!/bin/bash
# adopt-host-settings.sh: the proxy, package index and time-out settings of the host, where a guest can use them.
set -euo pipefail
here=$(dirname "$(realpath "$0")")

# adopt NAME TARGET: a setting that the host no longer has is removed here too.
adopt() {
  local source=$here/../host/$1 target=$2
  if [ -s "$source" ]; then
    cmp -s "$source" "$target" && return 0
    echo "adopting the host's settings: $target"
    install -D -m 644 "$source" "$target"
  elif [ -e "$target" ] && [ -e "/usr/local/lib/shipshape/adopted-$1" ]; then
    echo "removing settings that the host no longer has: $target"
    rm "$target"
    rm "/usr/local/lib/shipshape/adopted-$1"
    return 0
  else
    return 0
  fi
  touch "/usr/local/lib/shipshape/adopted-$1"
}

adopt pip.conf /etc/pip.conf
adopt apt.conf /etc/apt/apt.conf.d/95-host
adopt proxy.sh /etc/profile.d/host-proxy.sh
