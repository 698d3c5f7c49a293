#!/bin/bash
# build-image.sh OUT SIZE: make the disk of the stand-in internet, packages only, as one plain ext4 file.
#
# The same script runs on the host when a box is built (seconds) and in the guest where a box of the
# catalogue is used (minutes, on an emulated guest). Keys and configuration are not in it: they are laid in
# at provisioning. APT_MIRROR names a Debian mirror other than deb.debian.org.
set -euo pipefail
export LC_ALL=C.UTF-8

if [ $# -ne 2 ]; then
  echo "usage: build-image.sh OUT SIZE   (for example: build-image.sh internet.raw 2G)" >&2
  exit 64
fi
out=$(realpath -m "$1")
size=$2
mirror=${APT_MIRROR:-http://deb.debian.org/debian}

packages=(
  systemd systemd-sysv udev netbase iproute2 iputils-ping procps less  # an ordinary small host
  openssh-server openssh-client ca-certificates openssl curl
  knot knot-dnsutils unbound bind9-dnsutils               # the zone, the resolver, and the tools to ask them
  caddy                                                   # certificate authority, git host, front of the endpoint
  git nftables
  rclone restic                                           # the off-site store, and the keeper of its second key
  python3 python3-dnspython                               # to look from here
  python3-starlette python3-uvicorn python3-asgiref       # the OpenAI-compatible endpoint
  python3-venv                                            # the error collector, which add-collector.sh fetches
)

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

cat > "$work/make-disk" <<'EOF'
#!/bin/bash
# Called by mmdebstrap with the finished root. Nothing but the file system itself may land on the disk:
# a bind mount does not show what is mounted below it (/proc, /sys, /dev).
set -euo pipefail
root=$1 out=$2 size=$3 work=$4
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/ssh/ssh_config.d/* "$root/etc/resolv.conf"
# mmdebstrap's own means against services that start while it builds; it takes them away after this step alone.
rm -f "$root/usr/sbin/policy-rc.d"
mv -f "$root/usr/sbin/start-stop-daemon.REAL" "$root/usr/sbin/start-stop-daemon"
echo internet > "$root/etc/hostname"
: > "$root/etc/machine-id"
truncate --size "$size" "$out"
mkdir "$work/bare"
mount --bind "$root" "$work/bare"
mkfs.ext4 -q -F -L internet -m 0 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard -d "$work/bare" "$out"
umount "$work/bare"
EOF
chmod 755 "$work" "$work/make-disk"
# Debian 12's own keys, since an older system's keyring has none that sign it today; here, where apt's account can read.
install -m 644 "$(dirname "$(realpath "$0")")/debian-12.asc" "$work/keys.asc"

part=$out.part
rm -f "$part"
echo "building the stand-in internet's disk: $size, from $mirror"
mmdebstrap --variant=minbase --format=null \
  --include="$(IFS=,; echo "${packages[*]}")" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook="$(printf '%q' "$(dirname "$(realpath "$0")")/add-collector.sh") \"\$1\"" \
  --customize-hook="unshare --mount $(printf '%q ' "$work/make-disk") \"\$1\" $(printf '%q ' "$part" "$size" "$work")" \
  bookworm /dev/null "deb [signed-by=$work/keys.asc] $mirror bookworm main"
mv -f "$part" "$out"
