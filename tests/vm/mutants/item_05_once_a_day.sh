#!/bin/bash
# item: 5
# depth: look
# looks right because: the rule says maxsize 100M, and /etc/cron.hourly has logrotate
# but: cron's script leaves it to the timer, and the timer comes once a day
# says: as seldom as every \d+ h \(/etc/cron\.hourly/logrotate: it does nothing where systemd runs
# also: none
set -euo pipefail
mkdir -p /etc/systemd/system/logrotate.timer.d /etc/cron.hourly
cp -p /etc/cron.daily/logrotate /etc/cron.hourly/
printf '%s\n' '[Timer]' OnCalendar= OnCalendar=daily > /etc/systemd/system/logrotate.timer.d/zz.conf
systemctl daemon-reload
systemctl restart logrotate.timer
