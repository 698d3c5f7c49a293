#!/bin/bash
# even-out-boxes.sh: what boxes of the catalogue have differently from the lab's own Debian box, where a chapter would
# stumble over it.
set -euo pipefail
timers=(apt-daily.timer apt-daily-upgrade.timer)
never=/etc/apt/apt.conf.d/10periodic
stamp=/usr/local/lib/shipshape/boxes-evened-out

# Once: what a learner has switched on since stays on.
[ ! -e $stamp ] || exit 0

# No updates by themselves until chapter 06 switches them on: they would hold apt's lock, or start a service anew, in
# the middle of a chapter.
if [ "$(systemctl is-enabled "${timers[@]}" | sort -u)" != masked ]; then
  echo "holding back updates, until chapter 06"
  systemctl --quiet mask --now "${timers[@]}"
  systemctl stop apt-daily.service
  # An upgrade that runs already is waited for: half an upgrade is worse than a late one.
  apt-get -qq -o DPkg::Lock::Timeout=900 check
fi
# Some boxes hold them back in other ways, in which the timers could not be started again.
systemctl --quiet unmask apt-daily.service apt-daily-upgrade.service
if grep -qs 'APT::Periodic::Enable "0"' $never; then rm $never; fi

# Ubuntu's localhost is 127.0.0.1 alone, and so is what listens there.
if ! grep -qE '^::1[[:space:]](.*[[:space:]])?localhost([[:space:]]|$)' /etc/hosts; then
  echo "localhost is ::1 as well"
  sed -i '/^::1[[:space:]]/d' /etc/hosts
  echo '::1 localhost ip6-localhost ip6-loopback' >> /etc/hosts
fi

# Vagrant gives its own account a key of this machine's; a cloud image's other one would keep the key that all know.
if [ "$(getent passwd vagrant | cut -d : -f 7)" != /bin/bash ]; then chsh --shell /bin/bash vagrant; fi
rm -f /home/ubuntu/.ssh/authorized_keys
touch $stamp
