"""Item 2: visitors get a trusted, current TLS connection, and nothing weaker."""

from __future__ import annotations

from collections.abc import Iterator

from labcheck.checks.model import Item, Target, criterion
from labcheck.external import questions
from labcheck.external.model import Website
from labcheck.verdict import Finding, failed, passed, unknown

# Renewed when a third of the lifetime is left (Caddy, certbot), or at a time that the authority names (ARI).
# Let's Encrypt's is a window of 2 % of the lifetime around the last third, half for less than ten days. A
# client that looks twice a day, and is refused for a few, is still in order: a quarter is too late.
_PART_LEFT = 1 / 4


@criterion(site=questions.website)
def the_certificate_is_trusted(site: Website, target: Target) -> Iterator[Finding]:
    """A handshake at each address: the chain verifies, the name is in it, it lives long enough."""
    if not site.handshakes:
        yield failed(
            f"{target.domain} leads nowhere, and this server has no public address",
            expected=f"https://{target.domain} answers",
            why="without TLS everyone on the way reads and changes what is sent",
        )
    for shake in site.handshakes:
        where = f"{shake.address}, 443/tcp"
        if shake.error:
            yield failed(
                f"no TLS at {where}: {shake.error}",
                expected="a TLS handshake at every address of the domain",
                why="visitors who get this address see an error, or nothing",
                next="is Caddy running, and does the firewall let 443/tcp in? journalctl -u caddy -n 20",
            )
        elif shake.untrusted:
            by = f" (from {shake.issuer})" if shake.issuer else ""
            yield failed(
                f"the certificate at {where} is not trusted: {shake.untrusted}{by}",
                expected=f"a certificate for {target.domain} from an authority that browsers know",
                why="browsers stop visitors with a warning, and programs refuse",
                next="journalctl -u caddy says why no certificate could be had",
            )
        elif shake.not_before is None or shake.not_after is None:
            yield unknown(f"the certificate's lifetime at {where} could not be read")
        else:
            whole, left = shake.not_after - shake.not_before, shake.not_after - shake.now
            lifetime = f"{left / 3600:.1f} of {whole / 3600:.1f} h left"
            if left <= whole * _PART_LEFT:
                yield failed(
                    f"a quarter or less of the certificate's lifetime is left at {where}",
                    expected="more than a quarter of the lifetime: renewal happens before that",
                    why="renewal is not working, and when the rest is over, so is the site",
                    next="journalctl -u caddy says why renewal fails",
                    detail=lifetime,
                )
            elif shake.version not in ("TLSv1.2", "TLSv1.3"):
                yield failed(
                    f"{shake.version} was chosen at {where}",
                    expected="TLS 1.2 or 1.3",
                    why="older versions are broken",
                )
            else:
                version = shake.version.replace("TLSv", "TLS ")
                yield passed(
                    f"{version} at {shake.address}, trusted chain to {shake.issuer}", detail=lifetime
                )


@criterion(site=questions.website)
def old_versions_are_refused(site: Website) -> Iterator[Finding]:
    """A client that was proved able to speak TLS 1.0 and 1.1 is turned away."""
    for shake in site.handshakes:
        for version, state in shake.old.items():
            name = version.replace("TLSv1_1", "TLS 1.1").replace("TLSv1", "TLS 1.0")
            if state.value == "accepted":
                yield failed(
                    f"{name} is accepted at {shake.address}",
                    expected="TLS 1.2 and 1.3 alone",
                    why="known attacks read or change what is sent over it",
                    next="take the `protocols` line out of the Caddyfile's tls block",
                )
            elif state.value != "refused":
                yield unknown(
                    f"{name} at {shake.address}: {state.unreadable or 'the answer is not understood'}"
                )
    states = [state for shake in site.handshakes for state in shake.old.values()]
    if states and all(state.value == "refused" for state in states):
        yield passed("TLS 1.0 and 1.1 are refused")


@criterion(site=questions.website)
def http_leads_to_https(site: Website, target: Target) -> Iterator[Finding]:
    """Port 80 answers with a redirect to the same name over https, at every address."""
    bad = False
    for item in site.redirects:
        answer = item.answer
        if answer.status in (301, 302, 307, 308) and _is_https(answer.location, target.domain):
            continue
        bad = True
        observed = f"{answer.status} to {answer.location}" if answer.location else str(answer.status)
        yield failed(
            f"http at {item.address}, 80/tcp: {answer.error or observed}",
            expected=f"a redirect to https://{target.domain}/",
            why="people type the name without https, and old links have http",
            next="let 80/tcp in, and let Caddy serve the name without `http://` in front or `auto_https off`",
        )
    if site.redirects and not bad:
        yield passed("http redirects to https")


def _is_https(location: str, domain: str) -> bool:
    start = f"https://{domain}"
    return location.lower() == start or location.lower().startswith((f"{start}/", f"{start}:443/"))


@criterion(site=questions.website)
def hsts_is_noted(site: Website) -> Iterator[Finding]:
    """Strict-Transport-Security is a choice: it is told, not judged."""
    answers = [got.best for got in site.gets if got.best.status is not None]
    if answers:
        yield passed(
            "HSTS is sent" if all(answer.hsts for answer in answers) else "HSTS is not sent (a choice)"
        )


ITEM = Item(
    number=2,
    title="HTTPS with a valid certificate",
    short="HTTPS",
    chapter="02_https_caddy",
    section="A certificate",
    criteria=(the_certificate_is_trusted, old_versions_are_refused, http_leads_to_https, hsts_is_noted),
)
