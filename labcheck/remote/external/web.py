"""TLS and HTTP: certificates, old versions, redirects, and what the paths answer."""

from __future__ import annotations

import functools
import http.client
import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from labcheck.remote.external.answers import BODY_LIMIT, Json, Unseen, answer, why
from labcheck.remote.external.ports import CONNECT_TIMEOUT

TLS_TIMEOUT = 3.0  # s
TRY_TIMEOUT = 2.0  # s, for one HTTP answer: twice what is allowed
WELL_WITHIN = 1.0  # s, for an answer that settles the question
# A health result is shared for a second or so by all who ask: the next request gets a new one.
BETWEEN_ATTEMPTS = 1.2  # s
UNWELL = {"degraded", "warn", "unhealthy", "down", "fail"}
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


@functools.cache
def as_browsers_do() -> ssl.SSLContext:
    """One for all handshakes: reading the system's store takes longer than a handshake."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def without_verification() -> ssl.SSLContext:
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
    shake: Json = {"address": address, "error": "", "untrusted": ""}
    try:
        with tls(address, domain, as_browsers_do()) as sock:
            return {**shake, **described(sock)}
    except ssl.SSLCertVerificationError as error:
        shake["untrusted"] = error.verify_message
    except OSError as error:
        return {**shake, "error": why(error)}
    try:
        with tls(address, domain, without_verification()) as sock:
            shown = sock.getpeercert(binary_form=True) or b""
        # Its own words about itself: trusted for this one handshake alone.
        context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(shown))
        context.verify_flags |= 0x80000  # X509_V_FLAG_PARTIAL_CHAIN
        context.check_hostname = False
        context.set_alpn_protocols(["h2", "http/1.1"])
        with tls(address, domain, context) as sock:
            return {**shake, **described(sock)}
    except OSError:
        return shake


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
    context = without_verification()
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
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            old_client(version).wrap_bio(to_server, to_client, server_hostname="proof"),
            server.wrap_bio(to_client, to_server, server_side=True),
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
    fields = {name.lower(): value for name, value in response.getheaders()}
    return {
        "status": response.status,
        "seconds": seconds,
        "body": body.decode("utf-8", "replace"),
        "location": fields.get("location", ""),
        "hsts": fields.get("strict-transport-security", ""),
        "edge": {name: fields[name] for name in EDGE_HEADERS if name in fields},
        "request_id": fields.get("x-request-id", ""),
    }


def is_well(attempt: Json) -> bool:
    """Whether an answer settles the question. Of another one, more is seen a while later."""
    if attempt.get("status") != 200 or attempt["seconds"] > WELL_WITHIN:
        return False
    try:
        body = json.loads(attempt["body"])
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
                connection.sock = tls(address, domain, without_verification())
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
        return {"address": address, "answer": {"error": why(error)}}
    found = get(connection, "/", {})
    connection.close()
    return {"address": address, "answer": found}


def website(
    addresses: list[str], domain: str, paths: list[str], attempts: int, headers: dict[str, str]
) -> Json:
    """Everything about ports 80 and 443 of these addresses. `headers` go with what is asked over https."""
    with ThreadPoolExecutor(32) as pool:
        redirects = [pool.submit(redirect, address, domain) for address in addresses]
        shakes = {address: pool.submit(handshake, address, domain) for address in addresses}
        # Where the first handshake finds no server, there is no second one.
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
