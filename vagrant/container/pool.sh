# shellcheck shell=bash disable=SC2034  # who sources this uses the names
# pool.sh: the server's disk and its snapshots, as files of a small file system that can share blocks (XFS). Sourced.
#
#   /pool/pool.xfs               in the machine's volume: sparse, so it takes what is in it, and gives back what is freed
#   $pool/server.raw             the server's disk: 12 GB, ext4
#   $pool/snapshots/NAME.raw     copies by reference: each takes the room of what has changed since
pool_file=/pool/pool.xfs
pool=/run/pool
disk=$pool/server.raw
snapshots=$pool/snapshots
internet_disk=/var/lib/machines/internet.raw # on that disk: the stand-in internet's
disk_size=12G
pool_size=40G # no more than this, disk and snapshots together; 8 GB hold the snapshots of a finished course

# The container's /dev has no loop devices: nodes for those that the kernel has, and for those it would name next.
make_loop_nodes() {
  local number
  [ -e /dev/loop-control ] || mknod -m 600 /dev/loop-control c 10 237
  for number in $(seq 0 $(($(find /sys/block -name 'loop*' | wc -l) + 15))); do
    [ -e "/dev/loop$number" ] || mknod -m 600 "/dev/loop$number" b 7 "$number"
  done
}

# mount takes the loop device that has the file already, if there is one: so a second container may look as well.
open_pool() {
  make_loop_nodes
  mkdir -p $pool
  if [ ! -e $pool_file ]; then
    rm -f $pool_file.part
    truncate --size $pool_size $pool_file.part
    mkfs.xfs -q -m reflink=1 $pool_file.part
    mv $pool_file.part $pool_file
  fi
  mount -o loop,discard,noatime $pool_file $pool
  mkdir -p $snapshots
}
