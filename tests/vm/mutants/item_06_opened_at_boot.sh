#!/bin/bash
# item: 6
# depth: exercise
# looks right because: rules loaded, ufw enabled, its unit enabled
# but: another unit takes the rules out at each boot
# says: lets everything in
# also: none
set -euo pipefail
cat > /etc/systemd/system/network-tuning.service <<'UNIT'
[Unit]
After=ufw.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/ufw --force disable
ExecStartPost=/bin/sed -i s/ENABLED=no/ENABLED=yes/ /etc/ufw/ufw.conf
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable network-tuning
