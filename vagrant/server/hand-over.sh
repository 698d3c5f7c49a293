#!/bin/bash
# hand-over.sh KIND: a fresh Debian or Ubuntu becomes a server as a cloud provider hands it over.
#
# Runs as root inside the root file system in the making (chroot, or a RUN of a Dockerfile); the only place that
# says what all images have in common. KIND: virtual-machine or container.
set -euo pipefail
kind=$1

echo server > /etc/hostname
# A Dockerfile's /etc/hosts is the daemon's own; the container writes it at its first start.
if [ "$kind" = virtual-machine ]; then
  printf '127.0.0.1 localhost\n127.0.1.1 server\n\n::1 localhost ip6-localhost ip6-loopback\n' > /etc/hosts
  printf '/dev/vda / ext4 errors=remount-ro 0 0\n' > /etc/fstab
  printf '[Match]\nName=eth0 en*\n\n[Network]\nDHCP=yes\n' > /etc/systemd/network/10-provider.network
else
  printf '# The disk is mounted before the first process starts.\n' > /etc/fstab
  printf '[Match]\nName=eth0\n\n[Link]\nUnmanaged=yes\n' > /etc/systemd/network/10-provider.network
  # As images of containers have it: dpkg does not wait for the disk, which is a file of the host, after each file.
  echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/container
fi
printf 'LANG=C.UTF-8\n' > /etc/default/locale

# Host keys are made at first boot: two machines from one image are two hosts.
rm -f /etc/ssh/ssh_host_*
cat > /etc/systemd/system/ssh-host-keys.service <<'END'
[Unit]
Description=Make the SSH host keys at first boot
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
END
install -d /etc/ssh/sshd_config.d
install -m 600 /dev/stdin /etc/ssh/sshd_config.d/50-cloud-init.conf <<< 'PasswordAuthentication yes'

useradd --create-home --shell /bin/bash vagrant
chpasswd <<< vagrant:vagrant
install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
# Vagrant's public key, known to everybody: Vagrant replaces it by one of its own at the first start.
install -m 600 -o vagrant -g vagrant /dev/stdin /home/vagrant/.ssh/authorized_keys <<'END'
ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key
END
install -m 440 /dev/stdin /etc/sudoers.d/vagrant <<< 'vagrant ALL=(ALL) NOPASSWD: ALL'

systemctl --quiet enable ssh-host-keys ssh systemd-networkd systemd-resolved systemd-timesyncd
# A background upgrade holds apt's lock, and a person's apt-get would wait for it.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer systemd-networkd-wait-online.service

# The keyring's path is the build machine's: apt finds its own.
if [ -e /etc/apt/sources.list ]; then sed -i 's/ \[signed-by=[^]]*\]//' /etc/apt/sources.list; fi

# dbus keeps a copy of the machine-id, which systemd would take over at first boot: two machines from one image
# would then be one to DHCP, and get the same address.
: > /etc/machine-id
install -d /var/lib/dbus
ln -sf /etc/machine-id /var/lib/dbus/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/log/*.log
