"""What the resolver of this host and the servers of the zone say of a name."""

from __future__ import annotations

from typing import Any

from labcheck.remote.external.answers import Json, Unseen, why

DNS_TIMEOUT = 1.2  # s, for each of two attempts


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
                "dnspython is not installed at the vantage (apt install python3-dnspython)"
            ) from None
        self.dns = dns
        self.domain = dns.name.from_text(domain)
        try:
            self.resolvers = [str(server) for server in dns.resolver.Resolver().nameservers]
        except Exception as error:  # noqa: BLE001  several kinds, by platform and version
            raise Unseen(f"no resolver is configured at the vantage: {error}") from None

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
        records, aliases, ttls = [], [], []
        for rrset in response.answer:
            if rrset.rdtype == dns.rdatatype.CNAME:
                aliases += [item.target.to_text(omit_final_dot=True) for item in rrset]
            elif rrset.rdtype == dns.rdatatype.from_text(kind):
                records += [item.address for item in rrset]
                ttls.append(rrset.ttl)
        return {
            "status": dns.rcode.to_text(response.rcode()),
            "addresses": sorted(records),
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
        authorities = []
        for server in servers[:4]:
            addresses = []
            for kind in ("A", "AAAA"):
                response = self.ask(self.resolvers, server, kind, recurse=True)
                addresses += [
                    i.address for r in response.answer if r.rdtype == dns.rdatatype.from_text(kind) for i in r
                ]
            authorities.append((server.to_text(omit_final_dot=True), addresses))
        return authorities

    def by_resolver(self) -> Json:
        try:
            return self.both(self.resolvers, recurse=True)
        except Unseen as reason:
            raise Unseen(f"the resolver at the vantage gives nothing: {reason}") from None

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
