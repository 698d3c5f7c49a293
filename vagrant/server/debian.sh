# shellcheck shell=bash
# debian.sh: what the two builders of a Debian server have in common, the box's and the container's. Sourced, with
# `debian` (12 or 13, or --version) and `here` (the builder's folder) set.
#
# shellcheck disable=SC2016,SC2034,SC2154  # $(REPO_URI) is for apt-get to fill in; the builders use what is set here
if [ "$debian" = --version ]; then debian=${2:-12} version_only=yes; fi
case $debian in
  12) suite=bookworm ;;
  13) suite=trixie ;;
  *) echo "usage: build.sh [12|13]" >&2; exit 64 ;;
esac
internet=$(realpath "$here/../internet/build-image.sh")
internet_disk=2G # the stand-in internet's own disk, a file inside the server's
cache=${XDG_CACHE_HOME:-$HOME/.cache}/shipshape
name=shipshape/debian$debian
architecture=$(dpkg --print-architecture)
mapfile -t packages < <(grep -v '^#' "$here/../server/packages")

# A box's version must look like one: the first 32 bits of the hash of all that makes it, as a number.
hash=$({ echo "$suite $architecture"; cat "$here"/* "$here"/../server/* "$internet" "${internet%/*}"/{add-collector.sh,debian-12.asc,errors/*}; } | sha256sum)
version=1.0.$((16#${hash:0:8}))
if [ -n "${version_only:-}" ]; then
  echo "$name $version"
  exit
fi

# In memory, where there is plenty and root may mount: packages are unpacked in half the time.
work_in_memory() {
  local free
  [ -z "${LAB_IN_MEMORY:-}" ] && [ "$(id -u)" = 0 ] || return 0
  free=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  [ "$free" -ge 8 ] || return 0
  LAB_IN_MEMORY=yes exec unshare --mount bash "$0" "$debian"
}

needs() {
  local tool
  for tool in "$@"; do
    command -v "$tool" > /dev/null || { echo "build.sh: $tool is missing (packages: mmdebstrap qemu-utils e2fsprogs util-linux zstd)" >&2; exit 1; }
  done
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -e $keyring ] || { echo "build.sh: $keyring is missing (package: debian-archive-keyring)" >&2; exit 1; }
}

# The host's own Debian mirrors, where it has some that a guest can reach too; else Debian's.
mirror_of() {
  apt-get indextargets 'Identifier: Packages' 'Origin: Debian' "Label: $1" --format '$(REPO_URI)' \
    | grep -m1 -E '^https?://' || echo "$2"
}
mirror=$(mirror_of Debian http://deb.debian.org/debian/)
security=$(mirror_of Debian-Security http://deb.debian.org/debian-security/)

# A folder to work in, alone: two at once must not build the same twice, the second waits and finds it.
work_alone() {
  mkdir -p "$cache"
  exec 9> "$cache/.lock"
  if ! flock --nonblock 9; then
    echo "another build is under way: waiting for it" >&2
    flock 9
  fi
  find "$cache" -maxdepth 1 -name '.building-*' -exec rm -rf -- {} +  # nobody works in these: we hold the lock
  work=$(mktemp -d "$cache/.building-XXXXXX")
  if [ -n "${LAB_IN_MEMORY:-}" ]; then
    mount -t tmpfs -o size=6G,mode=755 tmpfs "$work"
    export TMPDIR=$work
    trap 'umount --lazy "$work" && rmdir "$work"' EXIT
  else
    trap 'rm -rf -- "$work"' EXIT
  fi
}

# Started first, in the background: it takes as long as the server itself.
build_internet() {
  APT_MIRROR=$mirror "$internet" "$work/internet.raw" "$internet_disk" > "$work/internet.log" 2>&1 &
  internet_build=$!
}

# bootstrap TARGET PACKAGES HOOK …: one root file system from the mirror, handed to the hooks.
bootstrap() {
  local target=$1 include=$2 signed="[signed-by=$keyring]"
  shift 2
  mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$@" "$suite" "$target" \
    "deb $signed $mirror $suite main" "deb $signed $mirror $suite-updates main" "deb $signed $security $suite-security main" >&2
}
