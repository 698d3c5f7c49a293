#!/bin/bash
# build.sh [12|13]: make the Debian box of the lab for vagrant-libvirt, where no catalogue of boxes answers.
#
# The last line on standard output is the box's name and version. The version stands for all that makes the
# box: these scripts, the list of packages, the architecture. What was built once is not built again; what was
# interrupted leaves nothing that could be taken for a box. As root, or as a user with a range in /etc/subuid.
set -euo pipefail
export LC_ALL=C.UTF-8

debian=${1:-12}
here=$(dirname "$(realpath "$0")")
# shellcheck source=vagrant/server/debian.sh
. "$here/../server/debian.sh"
disk=12G           # sparse: what is not written takes no room on the host
built=$cache/debian$debian-$version
packages+=("linux-image-cloud-$architecture" initramfs-tools zstd)

add() {
  if vagrant box list --machine-readable | grep -A2 "box-name,$name\$" | grep -q "box-version,$version\$"; then
    echo "box $name $version is known to Vagrant" >&2
  else
    echo "adding box $name $version to Vagrant" >&2
    vagrant box add --force "$built/box.json" >&2
  fi
  echo "$name $version"
}

if [ ! -e "$built/box.json" ]; then
  needs mmdebstrap qemu-img mkfs.ext4 unshare vagrant
  work_in_memory
  work_alone
fi
if [ -e "$built/box.json" ]; then
  add
  exit
fi

echo "building $name $version in $cache: two to three minutes" >&2
build_internet

echo "building the server's disk: $disk, $suite from $mirror" >&2
step=$(printf 'bash %q' "$here/make-disk")
INTERNET_BUILD=$internet_build bootstrap /dev/null "$(IFS=,; echo "${packages[*]}")" --format=null \
  --essential-hook="$step slim-initrd \"\$1\"" \
  --customize-hook="$step hand-over \"\$1\" virtual-machine" \
  --customize-hook="unshare --mount $step write \"\$1\" $(printf '%q %q' "$work" "$disk")"

echo "packing the box" >&2
qemu-img convert -O qcow2 "$work/server.raw" "$work/box.img"
cp "$here/Vagrantfile" "$work/Vagrantfile"
echo "$version" > "$work/version"
echo "{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": ${disk%G}}" > "$work/metadata.json"
mkdir "$work/done"
tar -C "$work" -cf "$work/done/libvirt.box" metadata.json Vagrantfile version vmlinuz initrd.img box.img
cat > "$work/done/box.json" <<END
{"name": "$name", "versions": [{"version": "$version", "providers": [{"name": "libvirt", "url": "file://$built/libvirt.box"}]}]}
END
rm -rf "$built" "$built.part"
cp -r "$work/done" "$built.part"
mv "$built.part" "$built"  # from here on the box exists, whole
add
