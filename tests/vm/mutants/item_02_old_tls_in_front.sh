# item: 2
# depth: look
# looks right because: Caddy speaks TLS 1.2 and 1.3 alone, and the certificate is the right one
# but: what really answers on 443 is an older proxy in front of it, which takes TLS 1.0
# says: TLS 1.0 is accepted
# also: 3
set -euo pipefail
folder=$(dirname "$(find /var/lib/caddy -name app.lab.example.crt | grep -v /local/ | head -1)")
cat > /usr/local/sbin/old-proxy <<'THERE'
import socket, ssl, sys, threading
folder = sys.argv[1]
outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
outer.load_cert_chain(f"{folder}/app.lab.example.crt", f"{folder}/app.lab.example.key")
outer.minimum_version = ssl.TLSVersion.TLSv1
outer.set_ciphers("ALL:@SECLEVEL=0")
inner = ssl.create_default_context()
inner.check_hostname, inner.verify_mode = False, ssl.CERT_NONE
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    finally:
        b.close()
def serve(raw):
    try:
        front = outer.wrap_socket(raw, server_side=True)
        back = inner.wrap_socket(socket.create_connection(("127.0.0.1", 443)), server_hostname="app.lab.example")
    except OSError:
        return raw.close()
    threading.Thread(target=pump, args=(front, back), daemon=True).start()
    pump(back, front)
with socket.create_server(("::", 8444), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
THERE
systemd-run --quiet --unit=old-proxy python3 /usr/local/sbin/old-proxy "$folder"
for tool in iptables ip6tables; do
  $tool -t nat -I PREROUTING -i public0 -p tcp --dport 443 -j REDIRECT --to-ports 8444
  $tool -I INPUT -m conntrack --ctstate DNAT -j ACCEPT
done
until ss -Hltn 'sport = :8444' | grep -q 8444; do :; done
