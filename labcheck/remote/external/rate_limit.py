"""How many requests may be sent, and what becomes of the one too many."""

from __future__ import annotations

import http.client
import os
import re

from labcheck.remote.external.answers import BODY_LIMIT, Json, why
from labcheck.remote.external.web import TRY_TIMEOUT, tls, without_verification

QUOTA = 10  # requests a minute, where an answer does not say how many there may be
MOST = 30  # requests that are sent at most, to see the one too many refused
# draft-ietf-httpapi-ratelimit-headers (as of version 10 and before version 8), and what was in use before it.
TELLS_LIMIT = re.compile(r"(x-)?ratelimit(-\w+)?|retry-after")
QUOTAS = (r";\s*q=(\d+)", r"\blimit=(\d+)", r"^(\d+)")


def quota(fields: dict[str, str]) -> int | None:
    """How many requests these fields of an answer allow; of several limits the lowest."""
    limits = [
        int(number)
        for name, text in fields.items()
        if name.endswith(("ratelimit", "ratelimit-policy", "ratelimit-limit"))
        for pattern in QUOTAS
        for number in re.findall(pattern, text)
    ]
    return min(limits) if limits else None


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
    announced = {name: value for name, value in fields.items() if TELLS_LIMIT.fullmatch(name)}
    return {"status": response.status, "fields": announced, "error": ""}


def of_another_client() -> dict[str, str]:
    """What a client says that claims to be another one, each time a different one."""
    address = f"203.0.113.{os.urandom(1)[0]}"
    names = ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP")
    return {**dict.fromkeys(names, address), "Forwarded": f"for={address}"}


def count(address: str, domain: str, path: str, key: str, until_refused: bool) -> list[Json]:
    """The answers to one empty question; or to as many as are allowed and one more.

    Once one is refused, there is another one that claims to come from elsewhere. Where more than MOST are
    allowed, the first is the only one.
    """
    answers: list[Json] = []
    connection = http.client.HTTPConnection(domain, timeout=TRY_TIMEOUT)

    def ask(forged: dict[str, str]) -> Json:
        try:
            if connection.sock is None:
                connection.sock = tls(address, domain, without_verification())
                connection.sock.settimeout(TRY_TIMEOUT)
        except OSError as error:
            return {"status": None, "fields": {}, "error": why(error), "forged": bool(forged)}
        named = {"Authorization": f"Bearer {key}"} if key else {}
        return {**post(connection, path, {**named, **forged}), "forged": bool(forged)}

    answers.append(ask({}))
    if until_refused and (allowed := quota(answers[0]["fields"]) or QUOTA) <= MOST:
        while len(answers) <= allowed and answers[-1]["status"] not in (None, 429):
            answers.append(ask({}))
        if answers[-1]["status"] == 429:
            answers.append(ask(of_another_client()))
    connection.close()
    return answers


def counted(addresses: list[str], domain: str, path: str, key: str, until_refused: bool) -> list[Json]:
    """The answers of the first address where there are any."""
    answers: list[Json] = []
    for address in addresses:
        answers = count(address, domain, path, key, until_refused)
        if not answers[0]["error"]:
            break
    return [{"address": address, **item} for item in answers]
