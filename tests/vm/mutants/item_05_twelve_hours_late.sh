#!/bin/bash
# item: 5
# depth: look
# looks right because: the timer is hourly
# but: systemd may take its time: twelve hours (AccuracySec), as Debian 11 has it
# says: as seldom as every 13 h
# also: none
set -euo pipefail
mkdir -p /etc/systemd/system/logrotate.timer.d
printf '%s\n' '[Timer]' AccuracySec=12h RandomizedDelaySec=0 > /etc/systemd/system/logrotate.timer.d/zz.conf
systemctl daemon-reload
systemctl restart logrotate.timer
