#!/bin/bash
# build.sh [12|13]: make the Debian box of the lab for vagrant-libvirt, where no catalogue of boxes answers.
#
# The last line on standard output is the box's name and version. The version stands for all that makes the
# box: these scripts, the list of packages, the architecture. What was built once is not built again; what was
# interrupted leaves nothing that could be taken for a box. As root, or as a user with a range in /etc/subuid.
# shellcheck disable=SC2016  # "$1" and $(REPO_URI) are for mmdebstrap and apt-get to fill in
set -euo pipefail
export LC_ALL=C.UTF-8

debian=${1:-12}
case $debian in
  12) suite=bookworm ;;
  13) suite=trixie ;;
  *) echo "usage: build.sh [12|13]" >&2; exit 64 ;;
esac

here=$(dirname "$(realpath "$0")")
internet=$(realpath "$here/../internet/build-image.sh")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/shipshape
name=shipshape/debian$debian
architecture=$(dpkg --print-architecture)
disk=12G           # sparse: what is not written takes no room on the host
internet_disk=2G   # the stand-in internet's own disk, a file inside

# A box's version must look like one: the first 32 bits of the hash, as a number.
hash=$( { echo "$suite $architecture"; cat "$0" "$here/make-disk" "$here/Vagrantfile" "$internet" "${internet%/*}"/{add-collector.sh,debian-12.asc,errors/*}; } | sha256sum)
version=1.0.$((16#${hash:0:8}))
built=$cache/debian$debian-$version

add() {
  if vagrant box list --machine-readable | grep -A2 "box-name,$name\$" | grep -q "box-version,$version\$"; then
    echo "box $name $version is known to Vagrant" >&2
  else
    echo "adding box $name $version to Vagrant" >&2
    vagrant box add --force "$built/box.json" >&2
  fi
  echo "$name $version"
}

if [ -e "$built/box.json" ]; then
  add
  exit
fi

for tool in mmdebstrap qemu-img mkfs.ext4 unshare vagrant; do
  command -v "$tool" > /dev/null || { echo "build.sh: $tool is missing (packages: mmdebstrap qemu-utils e2fsprogs util-linux vagrant)" >&2; exit 1; }
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keyring ] || { echo "build.sh: $keyring is missing (package: debian-archive-keyring)" >&2; exit 1; }

# The host's own Debian mirrors, where it has some that a guest can reach too; else Debian's.
mirror_of() {
  apt-get indextargets 'Identifier: Packages' 'Origin: Debian' "Label: $1" --format '$(REPO_URI)' \
    | grep -m1 -E '^https?://' || echo "$2"
}
mirror=$(mirror_of Debian http://deb.debian.org/debian/)
security=$(mirror_of Debian-Security http://deb.debian.org/debian-security/)

packages=(
  "linux-image-cloud-$architecture" initramfs-tools zstd
  systemd systemd-sysv systemd-resolved systemd-timesyncd systemd-container libpam-systemd udev dbus kmod
  openssh-server sudo adduser passwd login netbase iproute2 iputils-ping iptables
  python3 ca-certificates curl rsync e2fsprogs procps psmisc less nano apt-utils libcap2-bin logrotate
)

mkdir -p "$cache"
work=$(mktemp -d "$cache/.building-XXXXXX")
trap 'rm -rf -- "$work"' EXIT
# Two at once must not build the same box twice: the second waits, and finds it.
exec 9> "$cache/.lock"
if ! flock --nonblock 9; then
  echo "another build is under way: waiting for it" >&2
  flock 9
fi
if [ -e "$built/box.json" ]; then
  add
  exit
fi

image=("$internet" "$work/internet.raw" "$internet_disk")
echo "building $name $version in $cache: two to three minutes" >&2
APT_MIRROR=$mirror "${image[@]}" > "$work/internet.log" 2>&1 &
internet_build=$!

echo "building the server's disk: $disk, $suite from $mirror" >&2
signed="[signed-by=$keyring]"
INTERNET_BUILD=$internet_build mmdebstrap --quiet --variant=minbase --format=null \
  --include="$(IFS=,; echo "${packages[*]}")" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --essential-hook='bash '"$(printf '%q' "$here/make-disk")"' slim-initrd "$1"' \
  --customize-hook='bash '"$(printf '%q' "$here/make-disk")"' configure "$1" '"$(printf '%q' "debian$debian")" \
  --customize-hook='unshare --mount bash '"$(printf '%q' "$here/make-disk")"' write "$1" '"$(printf '%q %q' "$work" "$disk")" \
  "$suite" /dev/null \
  "deb $signed $mirror $suite main" "deb $signed $mirror $suite-updates main" "deb $signed $security $suite-security main" >&2

echo "packing the box" >&2
qemu-img convert -O qcow2 "$work/server.raw" "$work/box.img"
cp "$here/Vagrantfile" "$work/Vagrantfile"
echo "$version" > "$work/version"
echo "{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": ${disk%G}}" > "$work/metadata.json"
mkdir "$work/done"
tar -C "$work" -cf "$work/done/libvirt.box" metadata.json Vagrantfile version vmlinuz initrd.img box.img
cat > "$work/done/box.json" <<EOF
{"name": "$name", "versions": [{"version": "$version", "providers": [{"name": "libvirt", "url": "file://$built/libvirt.box"}]}]}
EOF
rm -rf "$built"
mv "$work/done" "$built"   # from here on the box exists, whole
add
