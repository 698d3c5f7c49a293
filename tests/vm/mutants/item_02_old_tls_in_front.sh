#!/bin/bash
# item: 2
# depth: look
# looks right because: Caddy speaks TLS 1.2 and 1.3 alone, and the certificate is the right one
# but: what really answers on 443 is an older proxy in front of it, which takes TLS 1.0
# says: TLS 1.0 is accepted
# also: 3, 4
# apart: 3
set -euo pipefail
certificate=$(find /var/lib/caddy -name app.lab.example.crt)
cat > /usr/local/sbin/old-proxy <<'THERE'
import asyncio, ssl, sys
outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
outer.load_cert_chain(sys.argv[1], sys.argv[1].replace(".crt", ".key"))
outer.minimum_version = ssl.TLSVersion.TLSv1
outer.set_ciphers("ALL:@SECLEVEL=0")
inner = ssl.create_default_context()
inner.check_hostname, inner.verify_mode = False, ssl.CERT_NONE
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
async def serve(reader, writer):
    back_reader, back_writer = await asyncio.open_connection("127.0.0.1", 443, ssl=inner, server_hostname="app.lab.example")
    await asyncio.gather(pump(reader, back_writer), pump(back_reader, writer))
async def main():
    await (await asyncio.start_server(serve, ["0.0.0.0", "::"], 8444, ssl=outer)).serve_forever()
asyncio.run(main())
THERE
systemd-run --quiet --unit=old-proxy python3 /usr/local/sbin/old-proxy "$certificate"
soon caddy_answers 8444
for tool in iptables ip6tables; do
  $tool -t nat -I PREROUTING -i public0 -p tcp --dport 443 -j REDIRECT --to-ports 8444
  $tool -I INPUT -m conntrack --ctstate DNAT -j ACCEPT
done
