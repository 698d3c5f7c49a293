"""Certificates after a pause: renewed where one has run out, or should have been renewed meanwhile."""

from __future__ import annotations

import re
import ssl
import time

from .machine import Machine
from .progress import Problem

# Both ends of a certificate's life, as the stand-in internet sees it.
CERTIFICATE = (
    "echo | timeout 10 openssl s_client -connect {name}:443 -servername {name} 2>&1 "
    "| openssl x509 -noout -startdate -enddate"
)


def parse_lifetime(text: str) -> tuple[float, float]:
    """notBefore and notAfter of what openssl prints, in seconds since 1970. Raises ValueError."""
    dates = dict(re.findall(r"^(notBefore|notAfter)=(.+)$", text, re.M))
    if len(dates) != 2:
        raise ValueError(text.strip() or "nothing")
    return ssl.cert_time_to_seconds(dates["notBefore"]), ssl.cert_time_to_seconds(dates["notAfter"])


def is_stale(begin: float, end: float, now: float) -> bool:
    """Whether a certificate is outside its life, or in its last third, where it should have been renewed."""
    return not begin <= now < end - (end - begin) / 3


def freshness(machine: Machine, name: str) -> str:
    """Empty where `name` shows a fresh certificate to the internet, else what is wrong."""
    answer = machine.ssh("internet", CERTIFICATE.format(name=name), limit=20)
    try:
        begin, end = parse_lifetime(answer.stdout)
    except ValueError:
        return f"{name} shows no certificate"
    return f"{name}'s certificate is not fresh" if is_stale(begin, end, time.time()) else ""


def renew(machine: Machine) -> str:
    """Restart Caddy where a certificate is not fresh, the authority first. Says what was done."""
    names = [(machine.settings["LAB_CA_NAME"], "internet", "systemctl restart caddy")]
    # What a learner has put on the server decides whether there is a certificate to speak of.
    running = machine.ssh("server", "systemctl is-active caddy").stdout.strip() == "active"
    if (
        running
        and machine.ssh(
            "server", f"sudo -n grep -q {machine.settings['LAB_APP_NAME']} /etc/caddy/Caddyfile"
        ).returncode
        == 0
    ):
        names.append((machine.settings["LAB_APP_NAME"], "server", "sudo -n systemctl restart caddy"))
    restarted = []
    for name, host, restart in names:
        wrong = freshness(machine, name)
        if not wrong:
            continue
        answer = machine.ssh(host, restart, limit=60)
        if answer.returncode != 0:
            raise Problem(
                f"{wrong}, and Caddy on {host} does not restart: {answer.stderr.strip()}", "make goto again"
            )
        deadline = time.monotonic() + 120
        while wrong := freshness(machine, name):
            if time.monotonic() > deadline:
                raise Problem(
                    f"{wrong}, 120 s after Caddy on {host} was restarted",
                    "see: make ssh, journalctl -u caddy",
                )
            time.sleep(1)
        restarted.append(name)
    return f"renewed for {', '.join(restarted)}" if restarted else "fresh"
