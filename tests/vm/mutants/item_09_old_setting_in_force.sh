# item: 9
# depth: exercise
# looks right because: the file says autorestart=true, and it is RUNNING
# but: supervisord still holds the setting that the file had before
# says: was killed, and stays down
# also: 3
set -euo pipefail
conf=$(grep -l 'program:aiapp-8000' /etc/supervisor/conf.d/*.conf)
cp "$conf" /root/aiapp.conf.right
sed -i -e '/^autorestart/d' -e '/program:aiapp-8000/a autorestart=false' "$conf"
supervisorctl reread
supervisorctl update
until supervisorctl status | grep -q RUNNING; do :; done
cp /root/aiapp.conf.right "$conf"
