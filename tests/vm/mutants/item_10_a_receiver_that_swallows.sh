#!/bin/bash
# item: 10
# depth: exercise
# looks right because: every alert has a receiver, which takes each message with 200
# but: a program answers there that keeps nothing: no person ever sees a message
# says: a test alert has not arrived at the receiver
# also: none
set -euo pipefail
cat > /usr/local/sbin/swallow <<'THERE'
from http.server import BaseHTTPRequestHandler, HTTPServer
class Swallow(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", 9999), Swallow).serve_forever()
THERE
systemd-run --quiet --unit=swallow python3 /usr/local/sbin/swallow
soon listens 9999
sed -i 's#https://alerts.lab.example/messages#http://127.0.0.1:9999/messages#' /etc/prometheus/alertmanager.yml
lab-pace
systemctl reload prometheus-alertmanager
loaded() { curl -s http://127.0.0.1:9093/api/v2/status | grep -q 127.0.0.1:9999 && curl -s http://127.0.0.1:9093/api/v2/alerts | grep -q Heartbeat; }
soon loaded
