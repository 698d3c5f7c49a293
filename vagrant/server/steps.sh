# shellcheck shell=bash
# steps.sh: what the steps of the two builders have in common (box/make-disk, container/make-image). Sourced, with
# `root` set: the root file system in the making.
#
# shellcheck disable=SC2154  # the step sets it

hand-over() {
  chroot "$root" bash -s "$1" < "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/hand-over.sh"
}

# mmdebstrap's own means against services that start while it builds; it takes them away after this step alone.
let-services-start() {
  rm -f "$root/usr/sbin/policy-rc.d"
  mv -f "$root/usr/sbin/start-stop-daemon.REAL" "$root/usr/sbin/start-stop-daemon"
}

# await PID FILE LOG: what is built beside this is waited for, and its failure is told.
await() {
  while kill -0 "$1" 2> /dev/null; do sleep 0.2; done
  if [ ! -e "$2" ]; then
    cat "$3" >&2
    exit 1
  fi
}
