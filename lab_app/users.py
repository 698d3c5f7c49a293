"""Who asks: an API key stands for a user."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv6Address, ip_address, ip_network

from fastapi import Request

from lab_app.json_logs import user_id
from lab_app.problems import Problem
from lab_app.settings import Settings


def user_of(request: Request, settings: Settings) -> str | None:
    """The user whose key the request carries; None where everyone may ask. Raises Problem, 401."""
    if not settings.api_keys:
        return None
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    digest = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
    found = None
    for user, key in settings.api_keys.items():  # every one: how long it takes must not tell which
        if hmac.compare_digest(digest, hashlib.sha256(key.get_secret_value().encode()).digest()):
            found = user
    if found is None or scheme.lower() != "bearer":
        detail = "Send your key as a header: Authorization: Bearer KEY."
        raise Problem(401, "not_authenticated", detail, headers={"WWW-Authenticate": "Bearer"})
    user_id.set(found)
    return found


def address_of(request: Request) -> str:
    """The client's address as the server knows it, which believes its own proxy alone.

    Of an IPv6 address the network: a single customer usually has 2^64 of them.
    """
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host or "unknown"
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return str(address)
