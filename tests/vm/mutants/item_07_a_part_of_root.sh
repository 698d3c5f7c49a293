#!/bin/bash
# item: 7
# depth: look
# looks right because: uid, groups and sudo are all right
# but: the process holds a capability
# says: holds capabilities
# also: none
set -euo pipefail
conf=$(grep -l 'program:aiapp-8000' /etc/supervisor/conf.d/*.conf)
sed -i -e '/^user *=/d' -e 's#^command *= *#&/usr/bin/setpriv --reuid aiapp --regid aiapp --init-groups --inh-caps +net_bind_service --ambient-caps +net_bind_service #' "$conf"
supervisorctl reread
supervisorctl update
soon app_is_well
