"""The program that asks a server from outside: questions in as JSON, answers out as JSON, one run.

It runs by `python3 -` on whatever host is the vantage, so it needs Python 3.9, dnspython, and
OpenSSH's ssh for logins; what it asks is in external/. Everything that waits, waits at the same time: a run
is over within about eight seconds even where nothing answers at all, and within fifteen where what does
answer is not well, or where logins are asked about, which begins when the host keys are there.

An answer is {"value": …} or {"unreadable": reason}. What this host cannot see is unreadable. That a
port does not open counts only where this host can open such a port elsewhere (on the reference host).
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from labcheck.remote.external.answers import Json, answer, value
from labcheck.remote.external.dns import Names
from labcheck.remote.external.marks import send_marks
from labcheck.remote.external.ports import reference_ports, routes, scan
from labcheck.remote.external.rate_limit import counted
from labcheck.remote.external.ssh import probe_logins
from labcheck.remote.external.web import website


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
    parts: set[str] = set(questions["wanted"])
    candidates: list[str] = questions["candidates"]
    tcp: list[int] = questions["tcp"]
    udp: list[int] = questions["udp"]
    with ThreadPoolExecutor(16) as pool:
        elsewhere = None
        if questions["reference"]:
            elsewhere = pool.submit(answer, lambda: reference_ports(questions["reference"], tcp, udp))
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
        if "web" in parts:
            asked = (domain, questions["paths"], questions["attempts"], questions["headers"])
            site = pool.submit(answer, lambda: website(visitors or candidates, *asked))
        limit = None
        if "limit" in parts:
            how = questions["chat_path"], questions["chat_key"], questions["until_refused"]
            limit = pool.submit(answer, lambda: counted(visitors or candidates, domain, *how))
        sent: Json = {"unreadable": "not asked"}
        if "sent" in parts:
            sent = answer(lambda: send_marks(addresses, domain, questions["mark"]))
        scanned: Json = {"unreadable": "not asked"}
        logins = None
        if "logins" in parts:
            ports, accounts = questions["ssh_ports"], questions["accounts"]
            logins = pool.submit(
                answer, lambda: probe_logins(addresses, ports, accounts, questions["host_keys"])
            )
        if "ports" in parts:
            # Only this server is scanned, never another host to which a wrong record points.
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
        }


def main(questions: Json) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 is asked for on purpose
    # A socket that is still waiting must not hold the answer back.
    sys.stdout.write(json.dumps(ask(questions)) + "\n")
    sys.stdout.flush()
    os._exit(0)
