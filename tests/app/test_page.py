"""The page at /: JSON for programs, and for people a chat that a keyboard and a screen reader can use."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import nbformat
import pytest

from lab_app import __version__
from lab_app.page import FOLDER, POLICY
from labkit import browser
from tests import needed

from .conftest import ROOT, Server, StartServer, client_of, settings, wait_until
from .services import free_port
from .time_limits import GENEROUS

BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html;q=0, */*", "text/*", ""])
async def test_a_program_gets_the_index_as_json(accept: str | None) -> None:
    async with client_of(settings()) as client:
        response = await client.get("/", headers={} if accept is None else {"Accept": accept})
    assert response.headers["content-type"] == "application/json"
    known = {"application": "lab_app", "version": __version__, "chat": "/api/chat", "health": "/health"}
    assert response.json() == known
    assert "content-security-policy" not in response.headers


@pytest.mark.parametrize("accept", [BROWSERS, "text/html", "TEXT/HTML; q=0.5", "application/json, text/html"])
async def test_a_browser_gets_the_page(accept: str) -> None:
    async with client_of(settings()) as client:
        response = await client.get("/", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["vary"] == "Accept"


async def test_the_page_names_no_other_site_and_holds_no_script_or_style() -> None:
    for file in FOLDER.iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+", file.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org"}, file  # a name of XML, which is not fetched
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?! src=)|\son\w+=|\sstyle=|javascript:", page)


@pytest.mark.parametrize("path", ["page.py", "..%2Fpage.py", "index.html", "", "nothing.js"])
async def test_no_other_file_is_given_out(path: str) -> None:
    async with client_of(settings()) as client:
        assert (await client.get(f"/static/{path}")).status_code == 404


# ---- in a browser ----

WATCH = "window.violations = []; document.addEventListener('securitypolicyviolation', (event) => {\
 window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`); });"


class Tab:
    """A tab of a real browser with the page in it."""

    def __init__(self, tools: browser.DevTools, address: str) -> None:
        self.tools = tools
        browser.open_tab(tools)
        tools.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        tools.call("Page.navigate", url=address)
        tools.event("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is there. The protocol may evaluate, whatever the policy says."""
        result = self.tools.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def focused(self) -> str:
        return str(self.value("document.activeElement.id"))

    def press(self, key: str) -> None:
        """A key, as a keyboard sends it."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        about: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": codes[key]}
        written = {"Enter": "\r", " ": " "}.get(key)
        self.tools.call(
            "Input.dispatchKeyEvent", type="keyDown", **about, **({"text": written} if written else {})
        )
        self.tools.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        self.tools.call("Input.insertText", text=text)

    def names(self) -> set[tuple[str, str]]:
        """Role and name of all that a screen reader is told of."""
        self.tools.call("Accessibility.enable")
        nodes = self.tools.call("Accessibility.getFullAXTree")["nodes"]
        return {
            (node.get("role", {}).get("value", ""), node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        }


@pytest.fixture(scope="module")
def tools() -> Iterator[browser.DevTools]:
    needed.program("chromium", "certutil")
    with browser.a_browser(
        ["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    ) as tools:
        yield tools


@pytest.fixture(scope="module")
def app(stand_in: Server) -> str:
    return stand_in.url


def caddy_header() -> str:
    """The headers that chapter 05 has Caddy set, as its file has them."""
    chapter = nbformat.read(ROOT / "notebooks" / "05_proxy_and_releases.ipynb", as_version=4)
    files = [
        cell.source for cell in chapter.cells if cell.source.startswith("%%vm_file /etc/caddy/Caddyfile")
    ]
    found = re.findall(r"\theader \{.*?\n\t\}", files[-1], re.S)
    assert len(found) == 1 and "Content-Security-Policy" in found[0]
    return str(found[0])


@pytest.fixture(scope="module")
def behind_caddy(app: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application behind a Caddy that is configured as in chapter 05."""
    caddy = needed.program("caddy")
    folder = tmp_path_factory.mktemp("caddy")
    url = f"http://127.0.0.1:{free_port()}"
    proxy = f"\treverse_proxy {app.removeprefix('http://')}"
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{url} {{\n{proxy}\n{caddy_header()}\n}}\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [caddy, "run", "--adapter", "caddyfile", "--config", "Caddyfile"],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: answers(url), "Caddy")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=GENEROUS)


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/live", timeout=GENEROUS).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.mark.parametrize("way", ["app", "behind_caddy"])
def test_the_page_asks_by_keyboard_shows_the_answer_and_keeps_to_its_policy(
    way: str, tools: browser.DevTools, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(way)
    policies = httpx2.get(address, headers={"Accept": "text/html"}, timeout=GENEROUS).headers.get_list(
        "content-security-policy"
    )
    assert POLICY in policies and (way == "app" or "frame-ancestors 'none'" in policies)
    tab = Tab(tools, address)
    for _ in range(5):
        tab.press("Tab")
        if tab.focused() == "message":
            break
    assert tab.focused() == "message"
    tab.type("Is <b>this</b> text?")
    tab.press("Enter")
    wait_until(lambda: tab.text("#progress").startswith("Answered by stand-in"), "the answer")
    assert "You asked: “Is <b>this</b> text?”" in tab.text("#conversation")
    assert tab.value("document.querySelectorAll('#conversation b').length") == 0
    assert tab.value("document.querySelector('#conversation').getAttribute('aria-busy')") is None
    assert tab.focused() == "message" and tab.value("document.querySelector('#message').value") == ""
    wait_until(lambda: tab.text("#health") == "degraded", "the health")
    assert "stand_in" in tab.text("#components") and "database" in tab.text("#components")
    assert tab.value("window.violations") == []


def test_the_page_shows_an_answer_while_it_comes_and_stops_it(tools: browser.DevTools, app: str) -> None:
    tab = Tab(tools, app)
    tab.value("document.querySelector('#message').focus()")
    tab.type("word " * 400)
    tab.press("Enter")
    wait_until(lambda: "stand-in" in tab.text("#conversation p:last-child"), "the first words")
    assert tab.value("document.querySelector('#conversation').getAttribute('aria-busy')") == "true"
    assert tab.text("#progress") == "Waiting for the answer"
    tab.value("document.querySelector('#stop').focus()")
    tab.press("Enter")
    wait_until(lambda: tab.text("#progress") == "Stopped.", "the end")
    assert not tab.text("#conversation p:last-child").rstrip().endswith("”")


def test_the_page_says_why_there_is_no_answer(tools: browser.DevTools, start_server: StartServer) -> None:
    tab = Tab(tools, start_server("lab_app.main:app", OPENAI_MODEL="stand-in", API_KEYS="user_1:a-key").url)
    tab.value("document.querySelector('#message').focus()")
    tab.type("Hello?")
    tab.press("Enter")
    wait_until(lambda: tab.text("#progress").startswith("No answer: Send your key"), "the refusal")
    assert tab.value("document.querySelector('#message').value") == "Hello?"  # to be sent again
    tab.value("document.querySelector('#key').focus()")
    tab.type("a-key")
    tab.press("Enter")
    wait_until(lambda: tab.text("#progress").startswith("Answered"), "the answer")
    assert tab.value("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_a_screen_reader_is_told_what_each_part_is(tools: browser.DevTools, app: str) -> None:
    tab = Tab(tools, app)
    wait_until(lambda: tab.text("#health") == "degraded", "the health")
    names = tab.names()
    wanted = {
        ("heading", "lab_app"), ("heading", "Chat"), ("heading", "Health"), ("log", "Chat"),
        ("textbox", "Question"), ("textbox", "API key"), ("button", "Ask"), ("button", "Stop"),
        ("columnheader", "Component"), ("rowheader", "database"),
    }  # fmt: skip
    assert wanted <= names, wanted - names
    assert tab.value("document.documentElement.lang") == "en"
    # A violation would be seen by this test, as the policy is in force and the watch works.
    tab.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.x = 1'}))"
    )
    wait_until(lambda: tab.value("window.violations.length"), "a violation that is made on purpose")
    assert tab.value("window.x") is None
