"""The documents that answers come from: kept in Chroma by what they mean, asked over its HTTP API.

`python -m lab_app.documents FOLDER` takes in the folder's texts (*.md, *.txt), and forgets what is gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from lab_app import llm
from lab_app.problems import Problem
from lab_app.reasons import why
from lab_app.settings import Settings, load_settings

DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"
COLLECTION = "documents"
NEAREST = 3  # passages that go with a question
LONGEST = 1200  # characters of a passage
FAILURES = (httpx2.HTTPError, ValueError, KeyError, TypeError, IndexError)


@dataclass(frozen=True)
class Passage:
    document: str
    text: str

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.document}\0{self.text}".encode()).hexdigest()


class Documents:
    def __init__(self, url: str, client: openai.AsyncOpenAI | None, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.http = httpx2.AsyncClient(base_url=url, timeout=5)
        self.collection = ""

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        if not self.collection:
            named = {"name": COLLECTION, "get_or_create": True}
            answer = await self.http.post(f"{DATABASE}/collections", json=named)
            self.collection = str(answer.raise_for_status().json()["id"])
        answer = await self.http.post(f"{DATABASE}/collections/{self.collection}/{path}", json=body)
        if answer.status_code == 404:
            self.collection = ""  # it was removed: the next question makes it again
        return answer.raise_for_status().json()

    async def places(self, texts: list[str]) -> list[list[float]]:
        """Where texts stand in the model's space of meanings. Raises Problem."""
        if self.client is None:
            raise Problem(503, "llm_not_configured", "No language model: OPENAI_API_KEY is not set.")
        return await llm.embed(self.client, texts, self.settings)

    async def near(self, question: str) -> list[Passage]:
        """The passages that are nearest to the question. Raises Problem."""
        (place,) = await self.places([question])
        wanted = {"query_embeddings": [place], "n_results": NEAREST, "include": ["documents", "metadatas"]}
        try:
            found = await self.post("query", wanted)
            pairs = zip(found["metadatas"][0], found["documents"][0], strict=True)
            return [Passage(about["document"], text) for about, text in pairs]
        except FAILURES as error:
            raise Problem(503, "no_documents", "The documents cannot be searched now.") from error

    async def take_in(self, passages: list[Passage]) -> int:
        """Hold these passages and no others; how many are new. Raises Problem, or one of FAILURES."""
        held = set((await self.post("get", {"include": []}))["ids"])
        new = [passage for passage in passages if passage.id not in held]
        for start in range(0, len(new), 100):
            some = new[start : start + 100]
            await self.post("upsert", {
                "ids": [passage.id for passage in some],
                "embeddings": await self.places([passage.text for passage in some]),
                "documents": [passage.text for passage in some],
                "metadatas": [{"document": passage.document} for passage in some],
            })  # fmt: skip
        if gone := sorted(held - {passage.id for passage in passages}):
            await self.post("delete", {"ids": gone})
        return len(new)

    async def look(self) -> None:
        """See whether Chroma answers. Raises what is wrong."""
        (await self.http.get("/api/v2/heartbeat")).raise_for_status()


def passages_of(folder: Path) -> Iterator[Passage]:
    """Every text below the folder, in pieces that end with a paragraph."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".md", ".txt"):
            continue
        piece = ""
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
            if piece and len(piece) + len(paragraph) > LONGEST:
                yield Passage(path.relative_to(folder).as_posix(), piece)
                piece = ""
            piece = f"{piece}\n\n{paragraph}".strip()[:LONGEST]
        if piece:
            yield Passage(path.relative_to(folder).as_posix(), piece)


async def main(folder: Path) -> None:
    settings = load_settings()
    client = llm.connect(settings)
    passages = list(dict.fromkeys(passages_of(folder)))
    if client is None or settings.chroma_url is None or not passages:
        raise SystemExit(
            f"documents: it takes OPENAI_API_KEY, CHROMA_URL, and texts (*.md, *.txt) in {folder}"
        )
    try:
        new = await Documents(str(settings.chroma_url), client, settings).take_in(passages)
    except (Problem, *FAILURES) as error:
        reason = error.detail if isinstance(error, Problem) else f"Chroma: {why(error)}"
        raise SystemExit(f"documents: {reason}") from None
    named = {passage.document for passage in passages}
    print(f"{len(named)} documents, {len(passages)} passages, {new} of them new")


if __name__ == "__main__":
    asyncio.run(main(Path(*sys.argv[1:2])))
