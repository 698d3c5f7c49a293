"""Retrieval: texts go into a real Chroma, and an answer names the one that it came from."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lab_app import llm
from lab_app.documents import LONGEST, Documents, passages_of

from . import time_limits
from .conftest import KEY, ROOT, client_of, settings
from .services import Service
from .test_chat import assert_problem

TEXTS = {
    "firewall.md": "# Firewall\n\nA firewall refuses every port that was not opened on purpose.\n",
    "backups/restic.md": "# Backups\n\nA backup that was never restored is a hope.\n",
    "dns.txt": "A record's TTL says for how long a resolver may repeat an old answer.\n",
    "picture.svg": "<svg>a firewall</svg>",
}
EMBEDDING = {"openai_embedding_model": "lab-embedding"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TEXTS.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "texts"


def program(folder: Path, model: str, chroma: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": model,
        "OPENAI_EMBEDDING_MODEL": "lab-embedding", "CHROMA_URL": chroma,
    }  # fmt: skip
    command = [sys.executable, "-m", "lab_app.documents", str(folder)]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


async def take_in(folder: Path, model: str, chroma: str) -> int:
    """As the program does, in this process: how many passages were new."""
    made = settings(model, chroma_url=chroma, **EMBEDDING)
    async with llm.connect(made) as client, aclosing(Documents(made, client)) as documents:
        return await documents.take_in(list(passages_of(folder)))


async def ask(model: str, chroma: str, message: str) -> httpx2.Response:
    async with client_of(settings(model, chroma_url=chroma, **EMBEDDING)) as client:
        return await client.post("/api/chat", json={"message": message})


async def test_an_answer_comes_from_the_documents_and_names_the_nearest_first(
    model: str, chroma_url: str, folder: Path
) -> None:
    done = program(folder, model, chroma_url)
    assert done.stdout == "3 documents, 3 passages, 3 of them new\n", done.stderr
    for question, document, says in (
        ("What does a firewall do with a port?", "firewall.md", "refuses every port"),
        ("Was the backup ever restored?", "backups/restic.md", "is a hope"),
        ("For how long does a resolver repeat an answer?", "dns.txt", "TTL"),
    ):
        answer = (await ask(model, chroma_url, question)).json()
        assert answer["documents"][0] == document and says in answer["answer"]


async def test_a_second_run_adds_what_is_new_and_forgets_what_is_gone(
    model: str, chroma_url: str, folder: Path
) -> None:
    assert [await take_in(folder, model, chroma_url) for _ in range(2)] == [3, 0]
    (folder / "dns.txt").unlink()
    (folder / "new.md").write_text("Supervisor restarts what has crashed.")
    assert await take_in(folder, model, chroma_url) == 1
    answer = (await ask(model, chroma_url, "How long may a resolver repeat it?")).json()
    assert "dns.txt" not in answer["documents"]


async def test_before_any_text_was_taken_in_the_model_answers_alone(model: str, chroma_url: str) -> None:
    answer = (await ask(model, chroma_url, "Hello, server!")).json()
    assert answer["documents"] == [] and answer["answer"].startswith("You said")


def test_a_long_text_is_cut_where_a_paragraph_ends(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {number}: " + "word " * 60 for number in range(20)]
    (tmp_path / "long.md").write_text("\n\n".join(paragraphs))
    found = list(passages_of(tmp_path))
    assert len(found) > 5 and all(len(passage.text) <= LONGEST for passage in found)
    assert all(passage.text.startswith("Paragraph") for passage in found)


async def test_a_model_that_cannot_place_a_question_is_logged_like_one_that_cannot_answer(
    chroma_url: str, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert_problem(await ask(nobody, chroma_url, "Hello?"), 502, "llm_unreachable")
    (line,) = [vars(each) for each in caplog.records if vars(each).get("event_type") == "llm_error"]
    assert (line["model"], line["outcome"], line["levelname"]) == ("lab-embedding", "failed", "ERROR")
    assert line["error"] == "no connection"


async def test_a_chroma_that_is_down_is_a_503_and_named_by_health(
    model: str, chroma_url: str, chroma_server: Service
) -> None:
    chroma_server.stop()
    assert_problem(await ask(model, chroma_url, "Hello?"), 503, "no_documents")
    async with client_of(settings(model, chroma_url=chroma_url)) as client:
        response = await client.get("/health")
    assert response.status_code == 503
    assert response.json()["components"]["vector_db"] | {"latency_ms": 0} == {
        "status": "unhealthy", "latency_ms": 0, "reason": "no connection",
    }  # fmt: skip


async def test_a_chroma_that_hangs_is_named_and_is_well_again_when_it_goes_on(
    model: str, chroma_url: str, chroma_server: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status() -> Any:
        async with client_of(settings(model, chroma_url=chroma_url)) as client:
            return (await client.get("/health/ready")).json()["components"]["vector_db"]["status"]

    with monkeypatch.context() as hanging:
        time_limits.put_own(hanging.setattr)
        chroma_server.pause()
        assert await status() == "unhealthy"
    chroma_server.resume()
    assert await status() == "healthy"


async def test_a_collection_that_was_removed_is_made_again(model: str, chroma_url: str, folder: Path) -> None:
    await take_in(folder, model, chroma_url)
    collections = f"{chroma_url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    async with client_of(settings(model, chroma_url=chroma_url, cache_seconds=0, **EMBEDDING)) as client:
        asked = {"message": "What does a firewall do?"}
        assert (await client.post("/api/chat", json=asked)).json()["documents"]
        assert httpx2.delete(f"{collections}/documents", timeout=time_limits.GENEROUS).status_code == 200
        assert (await client.post("/api/chat", json=asked)).json()["documents"] == []


@pytest.mark.parametrize("wrong", ["nothing", "model", "chroma"])
def test_what_cannot_be_taken_in_is_said_in_a_sentence(
    wrong: str, model: str, chroma_url: str, folder: Path, nobody: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = program(
        tmp_path / "empty" if wrong == "nothing" else folder,
        nobody if wrong == "model" else model,
        nobody if wrong == "chroma" else chroma_url,
    )
    assert done.returncode == 1 and done.stderr.startswith("documents: ") and done.stderr.count("\n") == 1
