#!/bin/bash
# item: 3
# depth: look
# looks right because: every answer is 200 and healthy
# but: it takes longer than a second: something on the way waits
# says: slower than 1 s
# also: none
set -euo pipefail
cat > /usr/local/sbin/slow-relay <<'THERE'
import asyncio
async def pump(reader, writer, wait):
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(wait)
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
async def serve(reader, writer):
    back_reader, back_writer = await asyncio.open_connection("127.0.0.1", 8000)
    await asyncio.gather(pump(reader, back_writer, 1.2), pump(back_reader, writer, 0))
async def main():
    await (await asyncio.start_server(serve, "127.0.0.1", 8700)).serve_forever()
asyncio.run(main())
THERE
systemd-run --quiet --unit=slow-relay python3 /usr/local/sbin/slow-relay
soon listens 8700
sed -i -E 's/(127\.0\.0\.1|localhost):800[0-9]/127.0.0.1:8700/g' /etc/caddy/Caddyfile
systemctl restart caddy
soon caddy_answers
