#!/bin/bash
# prepare-server.sh: a bare server and, beside it, the stand-in internet. Runs as root in the guest.
# Each job is idempotent and takes no time when there is nothing to do; what failed is done again by the next run.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
here=$(dirname "$(realpath "$0")")

"$here/record-manifest.sh"
"$here/quicken-emulation.sh"
"$here/even-out-boxes.sh"
"$here/open-password-login.sh"
"$here/adopt-host-settings.sh"
"$here/make-internet-disk.sh"
"$here/lay-in-internet.sh"
"$here/publish-app.sh"
# The internet boots while the certificates are worked into the trust store: each takes some 20 s when emulated.
"$here/start-internet.sh"
"$here/trust-authorities.sh"
"$here/mark-lab.sh"
