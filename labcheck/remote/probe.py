"""The program that looks at a server from outside: questions in as JSON, answers out as JSON, one run.

It runs by `python3 -` on whatever host there is to look from, so it needs Python 3.9, dnspython, and
OpenSSH's ssh for logins, and nothing of labcheck. Everything that waits, waits at the same time: a run is
over within about eight seconds even where nothing answers at all, and within fifteen where what does
answer is not well, or where logins are asked about, which begins when the host keys are there.

An answer is {"value": …} or {"unreadable": reason}. What this host cannot see is unreadable. That a
port does not open counts only where this host can open such a port elsewhere (on the reference host).
"""

from __future__ import annotations

import errno
import functools
import http.client
import json
import os
import re
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DNS_TIMEOUT = 1.2  # s, for each of two attempts
CONNECT_TIMEOUT = 1.6  # s: a SYN is sent again after 1 s, and both may be answered
TLS_TIMEOUT = 3.0  # s
LOGIN_TIMEOUT = 8  # s, for a key exchange and one refusal after it: 2 s on a busy emulated host
MARK_PORT = 33434  # UDP; traceroute's, where nobody answers
TRY_TIMEOUT = 2.0  # s, for one HTTP answer: twice what is allowed
QUOTA = 10  # requests a minute, where an answer does not say how many there may be
MOST = 30  # requests that are sent at most, to see the one too many refused
WELL_WITHIN = 1.0  # s, for an answer that settles the question
# A health result is shared for a second or so by everybody who asks: the next look is at a new one.
BETWEEN_ATTEMPTS = 1.2  # s
UNWELL = {"degraded", "warn", "unhealthy", "down", "fail"}
BODY_LIMIT = 65536  # bytes
EDGE_HEADERS = (
    "server",
    "via",
    "cf-ray",
    "x-amz-cf-id",
    "x-served-by",
    "x-azure-ref",
    "x-vercel-id",
    "x-akamai-request-id",
)
OLD_VERSIONS = ("TLSv1", "TLSv1_1")


class Unseen(Exception):
    """Could not be looked at; the text says why."""


def answer(look: Callable[[], Any]) -> Json:
    try:
        return {"value": look()}
    except Unseen as reason:
        return {"unreadable": str(reason)}
    except Exception as error:  # noqa: BLE001  one question that fails must not take the others along
        return {"unreadable": f"the look from outside failed: {type(error).__name__}: {error}"}


def family(address: str) -> int:
    return 6 if ":" in address else 4


def why(error: BaseException) -> str:
    """One word or two for a connection that did not come about; the same on every run."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return "refused"
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return "unreachable"
    if number in (errno.ECONNRESET, errno.EPIPE):
        return "reset"
    return getattr(error, "reason", None) or str(error) or type(error).__name__


# ---- names -------------------------------------------------------------------------------------


class Names:
    """The resolver that this host uses, and the servers that have authority over the zone."""

    def __init__(self, domain: str) -> None:
        try:
            import dns.flags
            import dns.message
            import dns.name
            import dns.query
            import dns.rcode
            import dns.rdatatype
            import dns.resolver
        except ImportError:
            raise Unseen(
                "dnspython is not installed where the look goes out from (apt install python3-dnspython)"
            ) from None
        self.dns = dns
        self.domain = dns.name.from_text(domain)
        try:
            self.resolvers = [str(server) for server in dns.resolver.Resolver().nameservers]
        except Exception as error:  # noqa: BLE001  several kinds, by platform and version
            raise Unseen(f"no resolver is configured where the look goes out from: {error}") from None

    def ask(self, servers: list[str], name: Any, kind: str, *, recurse: bool) -> Any:
        dns = self.dns
        query = dns.message.make_query(name, kind)
        if not recurse:
            query.flags &= ~dns.flags.RD
        reason = "no server to ask"
        for _ in range(2):
            for server in servers:
                try:
                    return dns.query.udp_with_fallback(query, server, timeout=DNS_TIMEOUT)[0]
                except (OSError, dns.exception.DNSException, EOFError) as error:
                    timed_out = isinstance(error, dns.exception.Timeout)
                    reason = "no answer" if timed_out else why(error)
        raise Unseen(reason)

    def addresses(self, servers: list[str], kind: str, *, recurse: bool) -> Json:
        response = self.ask(servers, self.domain, kind, recurse=recurse)
        dns = self.dns
        found, aliases, ttls = [], [], []
        for rrset in response.answer:
            if rrset.rdtype == dns.rdatatype.CNAME:
                aliases += [item.target.to_text(omit_final_dot=True) for item in rrset]
            elif rrset.rdtype == dns.rdatatype.from_text(kind):
                found += [item.address for item in rrset]
                ttls.append(rrset.ttl)
        return {
            "status": dns.rcode.to_text(response.rcode()),
            "addresses": sorted(found),
            "aliases": aliases,
            "ttl": min(ttls) if ttls else None,
        }

    def both(self, servers: list[str], *, recurse: bool) -> Json:
        return {kind: self.addresses(servers, kind, recurse=recurse) for kind in ("A", "AAAA")}

    def zone(self) -> Any:
        """The closest name above the domain that has an SOA record, as the resolver knows it."""
        dns = self.dns
        name = self.domain
        while name != dns.name.root:
            response = self.ask(self.resolvers, name, "SOA", recurse=True)
            for rrset in [*response.answer, *response.authority]:
                if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
                    return rrset.name
            name = name.parent()
        raise Unseen("the resolver knows no zone of this name")

    def authorities(self) -> list[tuple[str, list[str]]]:
        dns = self.dns
        response = self.ask(self.resolvers, self.zone(), "NS", recurse=True)
        servers = sorted(
            item.target for rrset in response.answer for item in rrset if rrset.rdtype == dns.rdatatype.NS
        )
        if not servers:
            raise Unseen("the resolver knows no name server of this zone")
        found = []
        for server in servers[:4]:
            addresses = []
            for kind in ("A", "AAAA"):
                response = self.ask(self.resolvers, server, kind, recurse=True)
                addresses += [
                    i.address for r in response.answer if r.rdtype == dns.rdatatype.from_text(kind) for i in r
                ]
            found.append((server.to_text(omit_final_dot=True), addresses))
        return found

    def by_resolver(self) -> Json:
        try:
            return self.both(self.resolvers, recurse=True)
        except Unseen as reason:
            raise Unseen(f"the resolver where the look goes out from gives nothing: {reason}") from None

    def by_authority(self) -> list[Json]:
        try:
            servers = self.authorities()
        except Unseen as reason:
            raise Unseen(f"the servers with authority over the zone could not be found: {reason}") from None
        answers = []
        for name, addresses in servers:
            try:
                answers.append({"server": name, **self.both(addresses, recurse=False)})
            except Unseen as reason:
                answers.append({"server": name, "unreadable": f"{name} gives nothing: {reason}"})
        if all("unreadable" in item for item in answers):
            raise Unseen("; ".join(item["unreadable"] for item in answers))
        return answers


# ---- ports -------------------------------------------------------------------------------------


def unblocked(address: str, kind: int) -> socket.socket:
    """A socket of the address's family that waits for nothing."""
    sock = socket.socket(socket.AF_INET6 if family(address) == 6 else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


def tcp_states(places: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """open, closed, filtered, or unreachable for each address and port, all asked at the same time."""
    states: dict[tuple[str, int], str] = {}
    with selectors.DefaultSelector() as waiting:
        for place in places:
            address, port = place
            sock = unblocked(address, socket.SOCK_STREAM)
            code = sock.connect_ex((address, port))
            if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                waiting.register(sock, selectors.EVENT_WRITE, place)
            else:
                states[place] = tcp_state(code)
                sock.close()
        end = time.monotonic() + CONNECT_TIMEOUT
        while waiting.get_map():
            ready = waiting.select(max(0.0, end - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                sock = key.fileobj  # type: ignore[assignment]
                states[key.data] = tcp_state(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                waiting.unregister(sock)
                sock.close()
        for key in list(waiting.get_map().values()):
            states[key.data] = "filtered"
            waiting.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
    return states


def tcp_state(code: int) -> str:
    if code == 0:
        return "open"
    if code in (errno.ECONNREFUSED, getattr(errno, "WSAECONNREFUSED", errno.ECONNREFUSED)):
        return "closed"
    if code in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "unreachable"
    return "filtered"  # no answer, or a router or filter said no


def udp_payload(port: int) -> bytes:
    """Something that what usually listens on this port answers."""
    if port == 443:  # QUIC, in a version that nobody speaks: an endpoint must say which it does speak
        head = b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
        return head + bytes(1200 - len(head))
    if port == 53:  # which name servers has the root?
        return os.urandom(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
    if port == 123:
        return b"\x1b" + bytes(47)
    return b"\r\n\r\n"


def udp_states(places: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """open (something came back), closed (ICMP says so), silent, or unreachable."""
    states: dict[tuple[str, int], str] = {}
    with selectors.DefaultSelector() as waiting:
        for place in places:
            address, port = place
            sock = unblocked(address, socket.SOCK_DGRAM)
            try:
                sock.connect((address, port))
                sock.send(udp_payload(port))
            except OSError:
                states[place] = "unreachable"
                sock.close()
            else:
                waiting.register(sock, selectors.EVENT_READ, place)
        start = time.monotonic()
        again = True
        while waiting.get_map() and time.monotonic() - start < CONNECT_TIMEOUT:
            limit = CONNECT_TIMEOUT / 2 if again else CONNECT_TIMEOUT
            for key, _ in waiting.select(max(0.0, start + limit - time.monotonic())):
                sock = key.fileobj  # type: ignore[assignment]
                try:
                    states[key.data] = "open" if sock.recv(2048) else "silent"
                except ConnectionRefusedError:
                    states[key.data] = "closed"
                except OSError:
                    states[key.data] = "silent"
                waiting.unregister(sock)
                sock.close()
            if again and time.monotonic() - start >= CONNECT_TIMEOUT / 2:
                again = False
                for key in list(waiting.get_map().values()):
                    try:
                        key.fileobj.send(udp_payload(key.data[1]))  # type: ignore[union-attr]
                    except ConnectionRefusedError:
                        states[key.data] = "closed"
                        waiting.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
                    except OSError:
                        continue
        for key in list(waiting.get_map().values()):
            states[key.data] = "silent"
            waiting.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
    return states


def scan(addresses: list[str], tcp: list[int], udp: list[int]) -> list[Json]:
    with ThreadPoolExecutor(2) as pool:
        by_tcp = pool.submit(tcp_states, [(a, p) for a in addresses for p in tcp])
        by_udp = pool.submit(udp_states, [(a, p) for a in addresses for p in udp])
        return [
            {"address": address, "protocol": protocol, "port": port, "state": state}
            for protocol, states in (("tcp", by_tcp.result()), ("udp", by_udp.result()))
            for (address, port), state in states.items()
        ]


def resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(item[4][0]) for item in found})


def reference_doors(host: str, tcp: list[int], udp: list[int]) -> list[Json]:
    """What this host can reach where everything answers: one address of each family."""
    addresses = resolve(host)
    chosen = [next((a for a in addresses if family(a) == kind), None) for kind in (4, 6)]
    return scan([address for address in chosen if address], tcp, udp)


def routes() -> dict[str, bool]:
    """Whether this host has a way out at all, by family: nothing is sent."""
    found = {}
    for kind, where, address in (("4", socket.AF_INET, "192.0.2.1"), ("6", socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(where, socket.SOCK_DGRAM) as sock:
                sock.connect((address, 9))
            found[kind] = True
        except OSError:
            found[kind] = False
    return found


def send_mark(address: str, domain: str, mark: str) -> Json:
    """Send this text to an address, in datagrams and in a request, for whoever watches there.

    `took`: a server on port 80 took the request; `answers`: somebody is there at all.
    """
    answers = False
    with socket.socket(
        socket.AF_INET6 if family(address) == 6 else socket.AF_INET, socket.SOCK_DGRAM
    ) as sock:
        for pause in (0.0, 0.2, 0.4):
            time.sleep(pause)
            try:
                sock.connect((address, MARK_PORT))
                sock.send(mark.encode())
            except ConnectionRefusedError:
                answers = True
            except OSError:
                continue
    connection = http.client.HTTPConnection(domain, timeout=TRY_TIMEOUT)
    try:
        connection.sock = socket.create_connection((address, 80), CONNECT_TIMEOUT)
        connection.sock.settimeout(TRY_TIMEOUT)
    except OSError as error:
        return {"took": False, "answers": answers or why(error) == "refused" or is_open(address, 443)}
    get(connection, "/", {"User-Agent": mark})
    connection.close()
    return {"took": True, "answers": True}


def is_open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def send_marks(addresses: list[str], domain: str, mark: str) -> dict[str, Json]:
    """`mark-NUMBER.` to each address, by its number."""
    with ThreadPoolExecutor(16) as pool:
        sent = {
            address: pool.submit(send_mark, address, domain, f"{mark}-{number}.")
            for number, address in enumerate(addresses)
        }
        return {address: each.result() for address, each in sent.items()}


def probe_login(address: str, port: int, account: str, known_hosts: str) -> Json:
    """What sshd offers to an account before anything is proved: one attempt, with the method `none`.

    ssh itself sees to it that only the host with the right key is asked at all.
    """
    found: Json = {"address": address, "port": port, "account": account, "offered": [], "error": ""}
    options = {
        "BatchMode": "yes",
        "PreferredAuthentications": "none",
        "ConnectTimeout": str(LOGIN_TIMEOUT - 1),
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": "server",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "none",
        "UpdateHostKeys": "no",
        "LogLevel": "ERROR",
    }
    command = ["ssh", "-F", "none", "-T", "-n", "-p", str(port), "-l", account]
    command += [f"-o{name}={value}" for name, value in options.items()]
    try:
        done = subprocess.run(
            [*command, "--", address, "exit"], capture_output=True, text=True, timeout=LOGIN_TIMEOUT
        )
    except FileNotFoundError:
        raise Unseen("ssh is not installed where the look goes out from") from None
    except subprocess.TimeoutExpired:
        return {**found, "error": "no answer"}
    if done.returncode == 0:
        return {**found, "offered": ["none"]}
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if refused := re.search(r"Permission denied \(([\w,-]*)\)", said):
        return {**found, "offered": refused[1].split(",")}
    for pattern, error in (
        (r"Connection refused", "refused"),
        (r"timed out", "no answer"),
        (r"No route to host|Network is unreachable|Cannot assign", "unreachable"),
        (r"Host key verification failed|no matching host key|No .* host key is known", "another host"),
        (
            r"Connection (closed|reset)|kex_exchange|Not allowed at this time",
            "closed before anything was said",
        ),
    ):
        if re.search(pattern, said):
            return {**found, "error": error}
    return {**found, "error": said}


def probe_logins(addresses: list[str], ports: list[int], accounts: list[str], keys: list[str]) -> list[Json]:
    """Each account at each port of each address; at one where the first gets no answer, no other is tried.

    Addresses are asked at the same time, accounts one after the other: sshd turns crowds away.
    """
    if not keys:
        raise Unseen("the server's SSH host keys are not known, so nobody is asked what a login needs")

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(8) as pool:
        known_hosts = Path(folder, "known_hosts")
        known_hosts.write_text("".join(f"server {key}\n" for key in keys))

        def at(address: str, port: int) -> list[Json]:
            found: list[Json] = []
            for account in accounts:
                found.append(probe_login(address, port, account, str(known_hosts)))
                if found[-1]["error"]:
                    break
            return found

        asked = [pool.submit(at, address, port) for address in addresses for port in ports]
        return [item for each in asked for item in each.result()]


# ---- TLS and HTTP ------------------------------------------------------------------------------


@functools.cache
def as_browsers_do() -> ssl.SSLContext:
    """One for all handshakes: reading the system's store takes longer than a handshake."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def trusting_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tls(address: str, domain: str, context: ssl.SSLContext, timeout: float = TLS_TIMEOUT) -> ssl.SSLSocket:
    raw = socket.create_connection((address, 443), timeout)
    try:
        return context.wrap_socket(raw, server_hostname=domain)
    except BaseException:
        raw.close()
        raise


def handshake(address: str, domain: str) -> Json:
    """One handshake as a browser makes it; if it fails on the certificate, a second one to see that."""
    found: Json = {"address": address, "error": "", "untrusted": ""}
    try:
        with tls(address, domain, as_browsers_do()) as sock:
            return {**found, **described(sock)}
    except ssl.SSLCertVerificationError as error:
        found["untrusted"] = error.verify_message
    except OSError as error:
        return {**found, "error": why(error)}
    try:
        with tls(address, domain, trusting_nobody()) as sock:
            shown = sock.getpeercert(binary_form=True) or b""
        # Its own words about itself: trusted for this one handshake alone.
        context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(shown))
        context.verify_flags |= 0x80000  # X509_V_FLAG_PARTIAL_CHAIN
        context.check_hostname = False
        context.set_alpn_protocols(["h2", "http/1.1"])
        with tls(address, domain, context) as sock:
            return {**found, **described(sock)}
    except OSError:
        return found


def described(sock: ssl.SSLSocket) -> Json:
    certificate: Any = sock.getpeercert() or {}
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return {
        "version": sock.version(),
        "alpn": sock.selected_alpn_protocol(),
        "names": sorted(value for _, value in certificate.get("subjectAltName", ())),
        "issuer": issuer.get("organizationName") or issuer.get("commonName") or "",
        "not_before": ssl.cert_time_to_seconds(certificate["notBefore"]) if certificate else None,
        "not_after": ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None,
        "now": time.time(),
    }


def old_client(version: str) -> ssl.SSLContext:
    """A client that offers this one old version and every cipher, so that a refusal is the server's."""
    context = trusting_nobody()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context


def prove_old_client(version: str) -> None:
    """Speaks the old version with itself in memory, where no server and no network can be the reason.

    Many systems switch old versions off for every program: such a client would be refused by itself.
    """
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.set_ciphers("AECDH-AES128-SHA:ADH-AES128-SHA:@SECLEVEL=0")  # needs no certificate
        server.minimum_version = server.maximum_version = ssl.TLSVersion[version]
        one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            old_client(version).wrap_bio(two, one, server_hostname="proof"),
            server.wrap_bio(one, two, server_side=True),
        )
        for _ in range(6):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        spoken = ends[0].version()
    except (ssl.SSLError, ValueError) as error:
        raise Unseen(f"this client cannot speak {version.replace('_', '.')}: {why(error)}") from None
    if spoken is None or spoken.replace(".", "_") != version:
        raise Unseen(f"this client cannot speak {version.replace('_', '.')}")


def old_version(address: str, domain: str, version: str) -> str:
    """accepted or refused."""
    prove_old_client(version)
    try:
        with tls(address, domain, old_client(version)):
            return "accepted"
    except (socket.timeout, TimeoutError):  # two classes until Python 3.10
        raise Unseen("no answer") from None
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return "refused"


def get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> Json:
    start = time.monotonic()
    try:
        connection.request("GET", path, headers={"User-Agent": "labcheck", "Accept": "*/*", **headers})
        response = connection.getresponse()
        body = response.read(BODY_LIMIT)
        seconds = time.monotonic() - start
        response.close()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return {"error": why(error), "seconds": time.monotonic() - start}
    given = {name.lower(): value for name, value in response.getheaders()}
    return {
        "status": response.status,
        "seconds": seconds,
        "body": body.decode("utf-8", "replace"),
        "location": given.get("location", ""),
        "hsts": given.get("strict-transport-security", ""),
        "edge": {name: given[name] for name in EDGE_HEADERS if name in given},
        "request_id": given.get("x-request-id", ""),
    }


def is_well(found: Json) -> bool:
    """Whether an answer settles the question. Of another one, more is seen a while later."""
    if found.get("status") != 200 or found["seconds"] > WELL_WITHIN:
        return False
    try:
        body = json.loads(found["body"])
    except ValueError:
        return True
    return not (isinstance(body, dict) and str(body.get("status")).lower() in UNWELL)


def https_gets(address: str, domain: str, path: str, attempts: int, headers: dict[str, str]) -> Json:
    """The path, asked up to `attempts` times over one connection until the answer is a good one.

    The certificate is not this question's business.
    """
    results: list[Json] = []
    connection = http.client.HTTPConnection(domain, timeout=TRY_TIMEOUT)
    while len(results) < attempts and not (results and is_well(results[-1])):
        if results:
            time.sleep(BETWEEN_ATTEMPTS)
        try:
            if connection.sock is None:
                connection.sock = tls(address, domain, trusting_nobody())
                connection.sock.settimeout(TRY_TIMEOUT)
        except OSError as error:
            results.append({"error": why(error), "seconds": 0.0})
            break
        results.append({**(found := get(connection, path, headers)), "well": is_well(found)})
    connection.close()
    return {"address": address, "path": path, "attempts": results}


def redirect(address: str, domain: str) -> Json:
    connection = http.client.HTTPConnection(domain, timeout=TRY_TIMEOUT)
    try:
        connection.sock = socket.create_connection((address, 80), CONNECT_TIMEOUT)
        connection.sock.settimeout(TRY_TIMEOUT)
    except OSError as error:
        return {"address": address, "error": why(error)}
    found = get(connection, "/", {})
    connection.close()
    return {"address": address, **found}


def website(
    addresses: list[str], domain: str, paths: list[str], attempts: int, headers: dict[str, str]
) -> Json:
    """Everything about ports 80 and 443 of these addresses. `headers` go with what is asked over https."""
    with ThreadPoolExecutor(32) as pool:
        redirects = [pool.submit(redirect, address, domain) for address in addresses]
        shakes = {address: pool.submit(handshake, address, domain) for address in addresses}
        # Where the first handshake finds nobody, nobody is asked again.
        at_home = [address for address in addresses if not shakes[address].result()["error"]]
        old = {
            (address, version): pool.submit(answer, functools.partial(old_version, address, domain, version))
            for address in at_home
            for version in OLD_VERSIONS
        }
        gets = [
            pool.submit(https_gets, address, domain, path, attempts, headers)
            for address in at_home
            for path in paths
        ]
        return {
            "handshakes": [
                {**shakes[a].result(), "old": {v: old[a, v].result() for v in OLD_VERSIONS if (a, v) in old}}
                for a in addresses
            ],
            "redirects": [item.result() for item in redirects],
            "gets": [item.result() for item in gets],
        }


# ---- how often -----------------------------------------------------------------------------------

# draft-ietf-httpapi-ratelimit-headers (as of version 10 and before version 8), and what was in use before it.
TELLS_LIMIT = re.compile(r"(x-)?ratelimit(-\w+)?|retry-after")
QUOTAS = (r";\s*q=(\d+)", r"\blimit=(\d+)", r"^(\d+)")


def quota(fields: dict[str, str]) -> int | None:
    """How many requests these fields of an answer allow; of several limits the lowest."""
    told = [
        int(number)
        for name, text in fields.items()
        if name.endswith(("ratelimit", "ratelimit-policy", "ratelimit-limit"))
        for pattern in QUOTAS
        for number in re.findall(pattern, text)
    ]
    return min(told) if told else None


def post(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> Json:
    """An empty question: it counts as a request, and no model is asked."""
    headers = {"User-Agent": "labcheck", "Content-Type": "application/json", **headers}
    try:
        connection.request("POST", path, body="{}", headers=headers)
        response = connection.getresponse()
        response.read(BODY_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return {"status": None, "fields": {}, "error": why(error)}
    fields = {name.lower(): value for name, value in response.getheaders()}
    told = {name: value for name, value in fields.items() if TELLS_LIMIT.fullmatch(name)}
    return {"status": response.status, "fields": told, "error": ""}


def of_somebody_else() -> dict[str, str]:
    """What a client says who claims to be somebody else, each time another one."""
    address = f"203.0.113.{os.urandom(1)[0]}"
    names = ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP")
    return {**dict.fromkeys(names, address), "Forwarded": f"for={address}"}


def count(address: str, domain: str, path: str, key: str, until_refused: bool) -> list[Json]:
    """The answers to one empty question; or to as many as are allowed and one more.

    Once one is refused, there is another one that claims to come from elsewhere. Where more than MOST are
    allowed, the first is the only one.
    """
    found: list[Json] = []
    connection = http.client.HTTPConnection(domain, timeout=TRY_TIMEOUT)

    def ask(forged: dict[str, str]) -> Json:
        try:
            if connection.sock is None:
                connection.sock = tls(address, domain, trusting_nobody())
                connection.sock.settimeout(TRY_TIMEOUT)
        except OSError as error:
            return {"status": None, "fields": {}, "error": why(error), "forged": bool(forged)}
        named = {"Authorization": f"Bearer {key}"} if key else {}
        return {**post(connection, path, {**named, **forged}), "forged": bool(forged)}

    found.append(ask({}))
    if until_refused and (allowed := quota(found[0]["fields"]) or QUOTA) <= MOST:
        while len(found) <= allowed and found[-1]["status"] not in (None, 429):
            found.append(ask({}))
        if found[-1]["status"] == 429:
            found.append(ask(of_somebody_else()))
    connection.close()
    return found


def counted(addresses: list[str], domain: str, path: str, key: str, until_refused: bool) -> list[Json]:
    """The answers of the first address where there are any."""
    found: list[Json] = []
    for address in addresses:
        found = count(address, domain, path, key, until_refused)
        if not found[0]["error"]:
            break
    return [{"address": address, **item} for item in found]


# ---- all of it ---------------------------------------------------------------------------------


def value(got: Json) -> Any:
    return got.get("value")


def asked_addresses(resolver: Json | None, authority: list[Json] | None) -> tuple[list[str], list[str]]:
    """(what visitors connect to, everything that DNS gives)."""
    visitors = [a for kind in ("A", "AAAA") for a in (resolver or {}).get(kind, {}).get("addresses", [])]
    others = [
        a
        for item in authority or []
        for kind in ("A", "AAAA")
        for a in item.get(kind, {}).get("addresses", [])
    ]
    return visitors[:6], list(dict.fromkeys([*visitors, *others]))[:8]


def ask(questions: Json) -> Json:
    domain: str = questions["domain"]
    wanted: set[str] = set(questions["wanted"])
    candidates: list[str] = questions["candidates"]
    tcp: list[int] = questions["tcp"]
    udp: list[int] = questions["udp"]
    with ThreadPoolExecutor(16) as pool:
        elsewhere = None
        if questions["reference"]:
            elsewhere = pool.submit(answer, lambda: reference_doors(questions["reference"], tcp, udp))
        dns: Any = answer(lambda: Names(domain))
        names = value(dns)
        if names is None:
            resolver = authority = dns
        else:
            by_authority = pool.submit(answer, names.by_authority)
            resolver = answer(names.by_resolver)
            authority = by_authority.result()
        visitors, everything = asked_addresses(value(resolver), value(authority))
        addresses = list(dict.fromkeys([*everything, *candidates]))
        site = None
        if "web" in wanted:
            asked = (domain, questions["paths"], questions["attempts"], questions["headers"])
            site = pool.submit(answer, lambda: website(visitors or candidates, *asked))
        limit = None
        if "limit" in wanted:
            how = questions["chat_path"], questions["chat_key"], questions["until_refused"]
            limit = pool.submit(answer, lambda: counted(visitors or candidates, domain, *how))
        sent: Json = {"unreadable": "not asked"}
        if "sent" in wanted:
            sent = answer(lambda: send_marks(addresses, domain, questions["mark"]))
        scanned: Json = {"unreadable": "not asked"}
        logins = None
        if "logins" in wanted:
            ports, accounts = questions["ssh_ports"], questions["accounts"]
            logins = pool.submit(
                answer, lambda: probe_logins(addresses, ports, accounts, questions["host_keys"])
            )
        if "ports" in wanted:
            # Only this server is scanned, never a stranger to whom a wrong record points.
            own = [address for address in addresses if address in questions["own"] or address in candidates]
            scanned = answer(lambda: scan(own, tcp, udp))
        return {
            "resolver": resolver,
            "authority": authority,
            "sent": sent,
            "ports": scanned,
            "reference": elsewhere.result() if elsewhere else {"unreadable": "no reference host is named"},
            "routes": answer(routes),
            "web": site.result() if site else {"unreadable": "not asked"},
            "limit": limit.result() if limit else {"unreadable": "not asked"},
            "logins": logins.result() if logins else {"unreadable": "not asked"},
            "visited": {"value": visitors or candidates},
        }


def main(questions: Json) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 is asked for on purpose
    # A socket that is still waiting must not hold the answer back.
    sys.stdout.write(json.dumps(ask(questions)) + "\n")
    sys.stdout.flush()
    os._exit(0)
