"""What a real browser says of a real site: which authority is trusted, in this run alone, and which is
not."""

from __future__ import annotations

import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit import browser
from labkit.browser import NoAnswer, NoBrowser, Page, open_page
from tests import needed
from vagrant.host import programs

NAME = "site.example"
ADDRESS = f"https://{NAME}/"


class Website(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<title>a page</title>something to see"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, and certificates for NAME that an intermediate of the first has signed."""
    needed.program("chromium", "certutil", "openssl")
    folder = tmp_path_factory.mktemp("authorities")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
    for name in ("root", "other"):
        ours = (
            "-subj",
            f"/CN=The {name}",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-out",
            f"{name}.pem",
        )
        openssl("req", "-x509", "-days", "9", *key, f"{name}.key", *ours)
    for name, subject, signer, extension, days in (
        ("between", "The intermediate", "root", "basicConstraints=critical,CA:TRUE", "9"),
        ("site", NAME, "between", f"subjectAltName=DNS:{NAME}", "9"),
        ("old", NAME, "between", f"subjectAltName=DNS:{NAME}", "0"),
    ):
        openssl("req", *key, f"{name}.key", "-subj", f"/CN={subject}", "-out", f"{name}.csr")
        (folder / "extension").write_text(extension)
        signed = (
            "-CA",
            f"{signer}.pem",
            "-CAkey",
            f"{signer}.key",
            "-CAcreateserial",
            "-extfile",
            "extension",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-days", days, *signed, "-out", f"{name}.pem")
    for name in ("site", "old"):
        chain = (folder / f"{name}.pem", folder / "between.pem")
        (folder / f"{name}-chain.pem").write_text("".join(part.read_text() for part in chain))
    return folder


@pytest.fixture(scope="module")
def serve(folder: Path) -> Iterator[Callable[[str], int]]:
    """The port of a site that shows this certificate."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(name: str) -> int:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{name}-chain.pem", folder / f"{name}.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture(scope="module")
def page(folder: Path, serve: Callable[[str], int]) -> Page:
    return open_page(ADDRESS, port=serve("site"), authority=(folder / "root.pem").read_text())


def test_browser_that_trusts_the_authority_shows_a_padlock(page: Page) -> None:
    assert page.has_padlock, page.lines()
    assert page.chain == (NAME, "The intermediate", "The root")
    assert page.tls.startswith("TLS 1.3, ") and page.http == "http/1.0"


@pytest.mark.parametrize("authority", ["", "other"])
def test_browser_without_the_authority_or_with_another_shows_a_warning(
    folder: Path, serve: Callable[[str], int], authority: str
) -> None:
    text = (folder / f"{authority}.pem").read_text() if authority else ""
    page = open_page(ADDRESS, port=serve("site"), authority=text)
    assert not page.has_padlock
    assert page.lines() == [f"{ADDRESS}: no padlock, net::ERR_CERT_AUTHORITY_INVALID"]


def test_authority_is_trusted_by_that_browser_alone(page: Page, serve: Callable[[str], int]) -> None:
    assert open_page(ADDRESS, port=serve("site")).error == "net::ERR_CERT_AUTHORITY_INVALID"


def test_padlock_is_missing_for_another_name_and_for_an_old_certificate(
    folder: Path, serve: Callable[[str], int]
) -> None:
    root = (folder / "root.pem").read_text()
    other = open_page("https://elsewhere.example/", port=serve("site"), authority=root)
    assert other.error == "net::ERR_CERT_COMMON_NAME_INVALID"
    old = open_page(ADDRESS, port=serve("old"), authority=root)
    assert old.error == "net::ERR_CERT_DATE_INVALID"


def test_site_alone_has_an_address() -> None:
    needed.program("chromium", "certutil")
    with browser.a_browser(["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND"]) as tools:
        assert browser.visit(tools, "http://localhost/").error == "net::ERR_NAME_NOT_RESOLVED"


def test_network_that_changes_meanwhile_is_no_reason_for_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with browser.a_browser(["--host-resolver-rules=MAP * ~NOTFOUND"]) as tools:
        call, errors = tools.call, [browser.NETWORK_CHANGED] * (browser.ATTEMPTS - 1)

        def changing(method: str, **parameters: object) -> dict[str, Any]:
            if method == "Page.navigate" and errors:
                return {"errorText": errors.pop()}
            return call(method, **parameters)

        monkeypatch.setattr(tools, "call", changing)
        assert browser.visit(tools, "http://localhost/").error == "net::ERR_NAME_NOT_RESOLVED"


def test_the_picture_holds_both(page: Page, serve: Callable[[str], int]) -> None:
    drawn = browser.picture([("one", page), ("another", open_page(ADDRESS, port=serve("site")))])
    assert drawn.startswith(b"\x89PNG")
    height = int.from_bytes(drawn[20:24], "big")
    assert 380 < height < 700


def test_browser_that_ends_at_once_is_reported_with_what_it_wrote(tmp_path: Path) -> None:
    needed.program("chromium", "certutil")
    script = tmp_path / "chromium"
    script.write_text("#!/bin/sh\necho 'no display, no sandbox, no luck' >&2\n")
    script.chmod(0o755)
    with (
        pytest.raises(NoAnswer, match=r"has ended.*no luck"),
        browser.started([str(script)], tmp_path) as tools,
    ):
        assert tools.from_.read() == b""  # it has ended by now, and what is sent to it is lost
        tools.call("Browser.getVersion")


def test_missing_browser_and_one_in_a_snap_are_reported_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_programs(tmp_path, monkeypatch)
    with pytest.raises(NoBrowser, match="apt-get install chromium libnss3-tools"):
        browser.find()


def test_the_browser_that_is_taken_is_the_one_that_make_test_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rule stands twice: vagrant/host runs before labkit can be imported, and labkit knows nothing of it.
    make_programs(tmp_path, monkeypatch)
    assert programs.find("chromium") is None
    chrome = tmp_path / "google-chrome"
    chrome.write_text("#!/bin/sh\n")
    chrome.chmod(0o755)
    assert browser.find()[0] == programs.find("chromium") == str(chrome)


def make_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chromium in a snap and a certutil, and nothing else in the PATH."""
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(programs.tools, "which", shutil.which)  # not the administrator's folders as well
    (folder / "snap").write_text("#!/bin/sh\n")
    (folder / "snap").chmod(0o755)
    (folder / "chromium").symlink_to("snap")
    (folder / "certutil").symlink_to("snap")
