#!/bin/bash
# hold-updates.sh: no updates by themselves, until chapter 06 switches them on: they would hold apt's lock, or start a
# service anew, in the middle of a chapter. The lab's own Debian box comes like this; boxes of the catalogue differ.
set -euo pipefail
timers=(apt-daily.timer apt-daily-upgrade.timer)
never=/etc/apt/apt.conf.d/10periodic
stamp=/usr/local/lib/shipshape/updates-held

# Once: what a learner has switched on stays on.
[ ! -e $stamp ] || exit 0
if [ "$(systemctl is-enabled "${timers[@]}" | sort -u)" != masked ]; then
  echo "holding back updates, until chapter 06"
  systemctl --quiet mask --now "${timers[@]}"
  systemctl stop apt-daily.service
  # Who is upgrading already is waited for: half an upgrade is worse than a late one.
  apt-get -qq -o DPkg::Lock::Timeout=900 check
fi
# Some boxes hold them back in other ways, in which the timers could not be started again.
systemctl --quiet unmask apt-daily.service apt-daily-upgrade.service
if grep -qs 'APT::Periodic::Enable "0"' $never; then rm $never; fi
touch $stamp
