"""What the probe's answer means: its values, and what is unreadable in it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from labcheck.errors import Unreadable
from labcheck.external import probing, questions
from labcheck.external.model import Answers, Part, Question, Questions
from labcheck.ssh import Connection

IPV4, IPV6 = "198.51.100.10", "2001:db8:100::10"


def record_set(*addresses: str) -> dict[str, Any]:
    return {"status": "NOERROR", "addresses": list(addresses), "aliases": ["cdn.example"], "ttl": 60}


ATTEMPT = {
    "status": 200, "seconds": 0.1, "body": "{}", "location": "", "hsts": "", "edge": {"via": "cache"},
    "request_id": "", "well": True,
}  # fmt: skip
SHAKE = {
    "address": IPV4, "error": "", "untrusted": "", "version": "TLSv1.3", "alpn": None, "names": ["a.example"],
    "issuer": "Test", "not_before": 1.0, "not_after": 3.0, "now": 2.0,
    "old": {"TLSv1": {"value": "refused"}, "TLSv1_1": {"unreadable": "this client cannot speak it"}},
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "resolver": {"value": {"A": record_set(IPV4), "AAAA": record_set(IPV6)}},
    "authority": {"value": [{"server": "ns1", "A": record_set(IPV4), "AAAA": record_set(IPV6)}]},
    "sent": {"value": {IPV4: {"accepted": True, "answers": True}}},
    "ports": {"value": [{"address": IPV4, "protocol": "tcp", "number": 443, "state": "open"}]},
    "reference": {"value": [{"address": "192.0.2.9", "protocol": "tcp", "number": 443, "state": "open"}]},
    "routes": {"value": {"4": True, "6": True}},
    "web": {
        "value": {
            "handshakes": [SHAKE],
            "redirects": [{"address": IPV4, "answer": {**ATTEMPT, "status": 308}}],
            "gets": [{"address": IPV4, "path": "/health", "attempts": [ATTEMPT]}],
        }
    },
    "limit": {"value": [{"address": IPV4, "status": 401, "fields": {}, "error": "", "forged": False}]},
    "logins": {
        "value": [{"address": IPV4, "port": 22, "account": "root", "offered": ["publickey"], "error": ""}]
    },
}
PART = {
    "resolver": questions.resolver, "authority": questions.authority, "sent": questions.marks_sent,
    "ports": questions.port_scan, "web": questions.website, "limit": questions.limit,
    "logins": questions.logins,
}  # fmt: skip


def test_probe_answer_is_read_into_what_the_questions_give() -> None:
    answers = Answers(ANSWER)
    records = answers[questions.resolver]
    assert (records.ipv4, records.ipv6, records.ttl) == ((IPV4,), (IPV6,), 60)
    assert [each.server for each in answers[questions.authority]] == ["ns1"]
    assert answers[questions.port_scan].ports[0].name == "443/tcp"
    (shake,) = answers[questions.website].handshakes
    assert shake.old == {"TLSv1": Part("refused"), "TLSv1_1": Part(unreadable="this client cannot speak it")}
    assert answers[questions.website].redirects[0].answer.status == 308
    assert answers[questions.edge] == {"via": "cache"}
    assert answers[questions.limit][0].status == 401
    assert answers[questions.logins][0].offered == ("publickey",)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value stands that is no collection."""
    if isinstance(value, dict):
        return [place for name, each in value.items() for place in places(each, (*path, name))]
    if isinstance(value, list):
        return [place for number, each in enumerate(value) for place in places(each, (*path, number))]
    return [path]


@pytest.mark.parametrize(
    ("part", "place"), [(part, place) for part in PART for place in places(ANSWER[part]["value"])], ids=str
)
def test_probe_answer_with_a_value_of_another_type_is_unreadable(part: str, place: tuple[Any, ...]) -> None:
    """And no other question with it."""
    wrong = copy.deepcopy(ANSWER)
    inner = wrong[part]["value"]
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = {"of": ["another", "type"]}
    with pytest.raises(Unreadable, match=rf"the probe \({part}\) says is not understood"):
        Answers(wrong)[PART[part]]
    for other in set(PART) - {part}:
        Answers(wrong)[PART[other]]


@pytest.mark.parametrize(
    ("question", "part", "field"),
    [
        (questions.port_scan, "ports", "state"),
        (questions.logins, "logins", "offered"),
        (questions.limit, "limit", "status"),
        (questions.authority, "authority", "AAAA"),
    ],
)
def test_probe_answer_without_a_field_is_unreadable(
    question: Question[object], part: str, field: str
) -> None:
    wrong = copy.deepcopy(ANSWER)
    del wrong[part]["value"][0][field]
    with pytest.raises(Unreadable, match="not understood"):
        Answers(wrong)[question]


@pytest.mark.parametrize("part", PART)
def test_probe_answer_without_a_part_is_unreadable(part: str) -> None:
    with pytest.raises(Unreadable, match="not understood"):
        Answers({name: value for name, value in ANSWER.items() if name != part})[PART[part]]


@pytest.mark.parametrize("part", PART)
def test_probe_s_reason_for_what_it_could_not_see_is_the_reason(part: str) -> None:
    with pytest.raises(Unreadable, match=r"^no network$"):
        Answers({**ANSWER, part: {"unreadable": "no network"}})[PART[part]]


# ---- round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("web",), [("web",)]),
        (("sent", "web", "limit"), [("sent", "web", "limit")]),
        (("sent", "ports", "web"), [("sent",), ("ports", "web")]),
        (("ports",), [("sent",), ("ports",)]),
    ],
)
def test_vantage_is_asked_twice_only_where_ports_are_scanned(
    parts: tuple[str, ...], expected: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the reference once: what it answers is needed for ports and for silence."""
    round_trips: list[Questions] = []

    def ask(questions: Questions, vantage: Connection | None) -> Answers:
        round_trips.append(questions)
        return Answers(ANSWER)

    monkeypatch.setattr(probing, "ask", ask)
    everything = Questions("app.example", reference="ports.example", wanted=parts)
    answers = probing.ask_and_watch(everything, None, Connection("nowhere.invalid"), [IPV4])
    assert [each.wanted for each in round_trips] == expected
    assert [each.reference for each in round_trips] == [""] * (len(round_trips) - 1) + ["ports.example"]
    assert answers[questions.website].gets
    if "ports" in parts or "sent" in parts:
        marks = answers[questions.marks_sent]
        assert list(marks.sent) == [IPV4] and "nowhere.invalid" in marks.problem


def test_vantage_that_cannot_be_asked_is_the_reason_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ask", lambda questions, vantage: Answers({}, "it is off"))
    answers = probing.ask_and_watch(Questions("app.example"), None, Connection("nowhere.invalid"), [])
    with pytest.raises(Unreadable, match=r"^it is off$"):
        answers[questions.website]
