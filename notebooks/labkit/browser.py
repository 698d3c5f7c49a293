"""What a browser says of a site: the facts that its padlock stands for, and the page. Headless Chromium.

The browser has everything of its own, for one run: settings, home, trust. It is spoken to over two pipes, so
nothing listens for it on any port, and asked for one site, so it asks for nothing else.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from labcheck.config import Config
from labcheck.remote.output import last_line
from labkit.tunnel import open_tunnel

NAMES = ("chromium", "google-chrome")
AUTHORITY = "/usr/local/share/ca-certificates/lab-internet.crt"
"""Where the hosts of the lab have the certificate of its authority."""
PATIENCE = 60.0
"""Seconds that a browser has for one answer, on a slow machine."""
WIDTH = 640
OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-default-apps",
    "--remote-debugging-pipe",
    f"--window-size={WIDTH},400",
)
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
"""Why a page does not open while a network of this computer comes or goes, as a container's does."""
ATTEMPTS = 5
HOW_TO_GET = "Debian: sudo apt-get install chromium libnss3-tools; Ubuntu: Google Chrome and libnss3-tools"


class NoBrowser(Exception):
    """No browser here takes an authority to trust for one run; the text says how to get one."""


class NoAnswer(Exception):
    """The browser ended, or said nothing for too long; the text says what it had said."""


@dataclass(frozen=True)
class Page:
    """What the browser said of `address`.

    `error` is why it showed a warning in place of the page, such as net::ERR_CERT_AUTHORITY_INVALID. `state`
    is what its padlock is drawn from: secure, or something else. `chain` has the names from the site's to
    the authority's that the browser trusts. `screenshot` is a PNG.
    """

    address: str
    error: str
    state: str
    tls: str
    http: str
    chain: tuple[str, ...]
    screenshot: bytes

    @property
    def has_padlock(self) -> bool:
        return self.state == "secure" and not self.error

    def lines(self) -> list[str]:
        """The facts, for people."""
        if not self.has_padlock:
            return [f"{self.address}: no padlock, {self.error or self.state or 'no encryption'}"]
        return [
            f"{self.address}: a padlock, {self.state}",
            f"  verified   {' < '.join(self.chain)}",
            f"  encrypted  {self.tls}",
            f"  spoken     {self.http}",
        ]


def find() -> tuple[str, str]:
    """The browser and certutil, which sets the authorities that it trusts. Raises NoBrowser."""
    # In a snap it reads no folder but its own; on macOS and Windows it trusts the authorities of the whole
    # computer.
    browsers = [
        path for path in map(shutil.which, NAMES) if path and "snap" not in Path(path).resolve().parts
    ]
    certutil = shutil.which("certutil")
    if os.name != "posix" or not browsers or not certutil:
        raise NoBrowser(f"no Chromium here that takes an authority to trust for one run ({HOW_TO_GET})")
    return browsers[0], certutil


def open_page(address: str, *, port: int | None = None, authority: str = "") -> Page:
    """Open `address` in a browser of its own. Raises NoBrowser, NoAnswer.

    `port` of this computer leads to the site, else the browser goes there by itself. `authority`: a
    certificate (PEM) that this browser trusts, in this run, beside those that it brings along.
    """
    options = []
    if port is not None:
        # Of all names, this one alone leads somewhere.
        rules = f"MAP {urlsplit(address).hostname} 127.0.0.1:{port},MAP * ~NOTFOUND"
        options = ["--no-proxy-server", f"--host-resolver-rules={rules}"]
    with a_browser(options, authority) as browser:
        return visit(browser, address)


def visitors(config: Config) -> list[tuple[str, Page]]:
    """The site as its visitors see it, each named. Raises as `open_page` does, NoTunnel and Unreachable.

    The lab's name and its authority are known in the lab alone: one browser gets both, the other
    the name alone. They get there from the stand-in internet, by its resolver, as its other hosts do.
    """
    address = f"https://{config.target.domain}/"
    if not config.target.lab or not config.vantage:
        return [("a visitor", open_page(address))]
    find()  # before a tunnel is opened for it
    authority = config.vantage.run(f"cat {AUTHORITY}").stdout
    tunnel = open_tunnel(config.vantage, f"{config.target.domain}:443")
    try:
        return [
            (
                "a browser that knows the lab's authority",
                open_page(address, port=tunnel.port, authority=authority),
            ),
            ("a browser that does not", open_page(address, port=tunnel.port)),
        ]
    finally:
        tunnel.close()


def text(pages: Sequence[tuple[str, Page]]) -> str:
    """The facts, for people."""
    return "".join(
        f"{visitor}:\n" + "".join(f"  {line}\n" for line in page.lines()) for visitor, page in pages
    )


def picture(pages: Sequence[tuple[str, Page]]) -> bytes:
    """A PNG: for each visitor the facts, and below them the page or the warning. Raises as `open_page` does.

    A headless browser draws no address bar, so no padlock: the facts are what it is drawn from.
    """
    parts = [f"<body style='margin:8px;width:{WIDTH}px;font:13px monospace'>"]
    for visitor, page in pages:
        image = base64.b64encode(page.screenshot).decode()
        size = f"width:{WIDTH - 2}px;height:{100 if page.has_padlock else 240}px"
        parts.append(
            f"<pre style='background:#eee;margin:0;padding:8px'>{html.escape(text([(visitor, page)]))}</pre>"
            f"<img src='data:image/png;base64,{image}' style='{size};border:1px solid #ccc;"
            "object-fit:cover;object-position:top;margin-bottom:8px'>"
        )
    with a_browser([]) as browser:
        open_tab(browser)
        frame = browser.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
        browser.call("Page.setDocumentContent", frameId=frame, html="".join(parts))
        size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": WIDTH + 16, "height": size["height"], "scale": 1}
        shot = browser.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


def trust(certutil: str, home: Path, authority: str) -> None:
    """Write the authority where a browser with this home looks for those that its person trusts."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    (home / "authority.pem").write_text(authority, encoding="ascii")
    new = ["-N", "--empty-password"]
    add = ["-A", "-n", "authority", "-t", "C,,", "-i", str(home / "authority.pem")]
    for command in (new, add):
        subprocess.run(
            [certutil, "-d", f"sql:{store}", *command],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )


class DevTools:
    """The browser's own protocol: messages of JSON, each ended by a zero byte."""

    def __init__(self, to: io.FileIO, from_: IO[bytes]) -> None:
        self.to, self.from_ = to, from_
        self.number = 0
        self.read = b""
        self.session = ""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of one call; what happens meanwhile is kept. Raises NoAnswer."""
        self.number += 1
        message: dict[str, object] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        remaining = memoryview(json.dumps(message).encode() + b"\0")
        try:
            while remaining:
                remaining = remaining[self.to.write(remaining) :]
        except OSError:
            raise NoAnswer("the browser has ended") from None
        while True:
            answer = self.next(method)
            if answer.get("id") != self.number:
                self.events.append(answer)
            elif "error" in answer:
                raise NoAnswer(f"the browser says of {method}: {answer['error'].get('message')}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    def event(self, method: str, holds: str = "") -> dict[str, Any]:
        """What is said in an event of this name that `holds` something, past or to come. Raises NoAnswer."""
        while True:
            for event in self.events:
                if event.get("method") == method and (not holds or event["params"].get(holds)):
                    parameters: dict[str, Any] = event["params"]
                    return parameters
            self.events.append(self.next(method))

    def next(self, waiting_for: str) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.read:
            ready, _, _ = select.select([self.from_], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise NoAnswer(f"the browser said nothing for {PATIENCE:.0f} s (waiting for {waiting_for})")
            piece = os.read(self.from_.fileno(), 1 << 16)
            if not piece:
                raise NoAnswer(f"the browser has ended (waiting for {waiting_for})")
            self.read += piece
        message, _, self.read = self.read.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def a_browser(more: Sequence[str], authority: str = "") -> Iterator[DevTools]:
    """A new browser with these options, which ends with the body. Raises NoBrowser, NoAnswer."""
    program, certutil = find()
    options = [*OPTIONS, *more]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # root's processes cannot be shut in
    with tempfile.TemporaryDirectory(prefix="padlock-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        if authority:
            trust(certutil, home, authority)
        command = [program, *options, f"--user-data-dir={home / 'settings'}", "about:blank"]
        with started(command, home) as browser:
            yield browser


@contextmanager
def started(command: list[str], home: Path) -> Iterator[DevTools]:
    """A browser with this home, which ends with the body. Raises NoAnswer with what it wrote."""
    for name in ("to", "from"):
        os.mkfifo(home / name)
    # It reads from its file 3 and writes to its file 4.
    script = f'exec "$@" 3<{home / "to"} 4>{home / "from"}'
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_"))
    }
    with (home / "log").open("w+b") as log:
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *command],
            env={**environment, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            # Without a buffer: what a browser has not read when it ends would fail once more at the close.
            with (home / "to").open("wb", buffering=0) as to, (home / "from").open("rb") as from_:
                yield DevTools(to, from_)
        except NoAnswer as problem:
            log.seek(0)
            written = last_line(log.read().decode(errors="replace"), "nothing")
            raise NoAnswer(f"{problem}; it wrote: {written}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def open_tab(browser: DevTools) -> None:
    """A new tab, which is spoken to from now on."""
    tab = browser.call("Target.createTarget", url="about:blank")["targetId"]
    browser.session = browser.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
    for part in ("Page", "Network", "Security"):
        browser.call(f"{part}.enable")
    browser.events.clear()


def visit(browser: DevTools, address: str) -> Page:
    """Open the page in a new tab, and see what the browser says of it."""
    for _ in range(ATTEMPTS):
        open_tab(browser)
        error = str(browser.call("Page.navigate", url=address).get("errorText", ""))
        if error != NETWORK_CHANGED:
            break
    if error:
        browser.event("Page.loadEventFired")  # of the warning that is shown in the place of the page
        return Page(address, error, "", "", "", (), photograph(browser))
    response = browser.event("Network.responseReceived")["response"]
    browser.event("Page.loadEventFired")
    if not response.get("securityDetails"):
        return Page(address, "", str(response["securityState"]), "", "", (), photograph(browser))
    details = response["securityDetails"]
    drawn_from = browser.event("Security.visibleSecurityStateChanged", "visibleSecurityState")
    state = drawn_from["visibleSecurityState"]
    certificates = state.get("certificateSecurityState", {}).get("certificate", [])
    return Page(
        address,
        "",
        str(state["securityState"]),
        ", ".join(details[part] for part in ("protocol", "keyExchangeGroup", "cipher") if details.get(part)),
        str(response["protocol"]),
        names(details, certificates),
        photograph(browser),
    )


# An issuer's common name comes before everything else in a certificate that could be one: the object
# identifier 2.5.4.3, and a string (UTF-8 or printable) of less than 128 bytes.
COMMON_NAME = re.compile(rb"\x06\x03\x55\x04\x03[\x0c\x13]([\x01-\x7f])", re.S)


def names(details: Mapping[str, Any], certificates: list[str]) -> tuple[str, ...]:
    """From the site's name over each certificate's issuer to the authority's, which names itself."""
    # A certificate of today may have its names in the list of alternatives alone.
    chain = [str(details["subjectName"] or details["sanList"][0])]
    for certificate in certificates:
        data = base64.b64decode(certificate)
        if found := COMMON_NAME.search(data):
            name = data[found.end() : found.end() + found[1][0]].decode(errors="replace")
            chain += [name] if name != chain[-1] else []
    return tuple(chain)


def photograph(browser: DevTools) -> bytes:
    shot = browser.call("Page.captureScreenshot", format="png")
    return base64.b64decode(shot["data"])
