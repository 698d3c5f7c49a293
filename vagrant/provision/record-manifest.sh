#!/bin/bash
# record-manifest.sh: write down what the server was before provisioning, so that a test can compare.
set -euo pipefail
manifest=/usr/local/lib/shipshape/manifest
[ ! -e $manifest/packages ] || exit 0

echo "recording what the bare server has"
rm -rf $manifest
mkdir -p $manifest
find -L /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin -maxdepth 1 -type f | sort > $manifest/commands
find /etc -type f -exec sha256sum {} + | sort -k 2 > $manifest/etc
dpkg-query --show --showformat '${Package}\n' | sort > $manifest/packages.part
mv $manifest/packages.part $manifest/packages
