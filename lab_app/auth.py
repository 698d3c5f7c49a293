"""Who asks: an API key stands for a user."""

from contextlib import suppress
from ipaddress import IPv6Address, ip_network
from secrets import compare_digest
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from lab_app.dependencies import SettingsDep
from lab_app.json_logs import user_id

# Its own error would come before the request is counted; chat.admit refuses after that.
bearer = HTTPBearer(auto_error=False, description="A key of API_KEYS. Where none is set, none is needed.")


async def current_user(
    settings: SettingsDep, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str | None:
    """The user whose key the request carries; None where it carries no key that is known."""
    # Every key is compared, and in full: how long it takes must not tell which, or how much of one is right.
    key = given.credentials.encode() if given else b""
    keys = {user: secret.get_secret_value().encode() for user, secret in settings.api_keys.items()}
    found = [user for user, known in keys.items() if compare_digest(key, known)]
    user_id.set(found[0] if found else None)
    return user_id.get()


CurrentUser = Annotated[str | None, Depends(current_user)]


def address_of(request: Request) -> str:
    """The client's address as the server knows it, which believes its own proxy alone.

    Of an IPv6 address the network: a single customer usually has 2^64 of them.
    """
    host = request.client.host if request.client else "unknown"
    with suppress(ValueError):  # it is none of IPv6
        address = IPv6Address(host)
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return host
