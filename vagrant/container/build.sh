#!/bin/bash
# build.sh [12|13]: make the container's image with a Debian server, where no registry of images answers.
#
# The same image as the Dockerfile's: a small Debian that opens the disk, and in /server what goes onto it; besides, the
# stand-in internet's disk, ready made. The last line on standard output is the image's name and version, as of a box.
# As root, or as a user with a range in /etc/subuid; who may talk to Docker.
set -euo pipefail
export LC_ALL=C.UTF-8

debian=${1:-12}
here=$(dirname "$(realpath "$0")")
# shellcheck source=vagrant/server/debian.sh
. "$here/../server/debian.sh"
image=$name:$version

built=$cache/container-debian$debian-$version.tar

is_there() { docker image inspect "$image" > /dev/null 2>&1; }
hand_to_docker() {
  echo "handing it to Docker" >&2
  docker import --change 'CMD ["/shipshape/boot"]' "$built" "$image" > /dev/null
  echo "$name $version"
}

if ! is_there && [ ! -e "$built" ]; then
  needs mmdebstrap zstd docker
  work_in_memory
  work_alone
fi
if is_there; then
  echo "$name $version"
  exit
fi
if [ -e "$built" ]; then
  hand_to_docker
  exit
fi

echo "building $image in $cache: a minute or two" >&2
build_internet
step=$(printf 'bash %q' "$here/make-image")
{
  bootstrap "$work/server.tar" "$(IFS=,; echo "${packages[*]}")" --format=tar \
    --customize-hook="$step hand-over \"\$1\" container" --customize-hook="$step let-services-start \"\$1\""
  touch "$work/server.done"
} > "$work/server.log" 2>&1 &

echo "building the image, $suite from $mirror" >&2
SERVER_BUILD=$! INTERNET_BUILD=$internet_build bootstrap "$work/image.tar" "$(grep -v '^#' "$here/packages" | paste -sd,)" --format=tar \
  --customize-hook="$step slim \"\$1\"" \
  --customize-hook="$step await-parts \"\$1\" $(printf '%q' "$work")" \
  --customize-hook="$step put-in \"\$1\" $(printf '%q' "$work")"
cp "$work/image.tar" "$built.part"
mv "$built.part" "$built" # from here on it is whole; `make uninstall` removes it
hand_to_docker
