"""The questions that checks ask from outside, as they ask the server itself for facts."""

from __future__ import annotations

from typing import Any

from labcheck.external.model import Question
from labcheck.external.parsing import (
    parse_authority,
    parse_edge,
    parse_limit,
    parse_logins,
    parse_marks_sent,
    parse_port_scan,
    parse_resolver,
    parse_website,
)
from labcheck.facts import Fact
from labcheck.facts.accounts import accounts
from labcheck.facts.network import host_keys, interface_addresses, listening_sockets, ssh_connection

resolver = Question("resolver", parse_resolver)
authority = Question("authority", parse_authority)
marks_sent = Question("marks_sent", parse_marks_sent, "sent")
port_scan = Question("port_scan", parse_port_scan, "ports")
logins = Question("logins", parse_logins, "logins", (accounts,))
limit = Question("limit", parse_limit, "limit")
website = Question("website", parse_website, "web")
edge = Question("edge", parse_edge, "web")

# What the server itself must say before it can be observed from outside.
NEEDS: tuple[Fact[Any], ...] = (host_keys, interface_addresses, listening_sockets, ssh_connection)
