"""The documents that answers come from: kept in Chroma by what they mean, asked over its HTTP API.

`python -m lab_app.documents FOLDER` takes in the folder's texts (*.md, *.txt), and forgets what is gone.
"""

import asyncio
import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from lab_app import llm, reasons
from lab_app.problem_details import Problem
from lab_app.settings import Settings, load_settings

DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"
COLLECTIONS = f"{DATABASE}/collections"
NEAREST = 3  # passages that go with a question
LONGEST = 1200  # characters of a passage
LIMIT = 5.0  # seconds for an answer of Chroma


@dataclass(frozen=True)
class Passage:
    document: str
    text: str

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.document}\0{self.text}".encode()).hexdigest()


class Documents:
    def __init__(self, settings: Settings, client: openai.AsyncOpenAI) -> None:
        self.settings = settings
        self.client = client
        self.http = httpx2.AsyncClient(base_url=str(settings.chroma_url), timeout=LIMIT)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """What Chroma answers about the collection, which is made where there is none. Raises Problem."""
        try:
            made = await self.http.post(COLLECTIONS, json={"name": "documents", "get_or_create": True})
            collection = made.raise_for_status().json()["id"]
            answer = await self.http.post(f"{COLLECTIONS}/{collection}/{path}", json=body)
            return answer.raise_for_status().json()
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            words = f"The documents cannot be searched: {reasons.why(error)}."
            raise Problem(503, "no_documents", words) from error

    async def near(self, question: str) -> list[Passage]:
        """The passages that are nearest to the question. Raises Problem."""
        place = await llm.embed(self.client, [question], self.settings)
        wanted = {"query_embeddings": place, "n_results": NEAREST, "include": ["documents", "metadatas"]}
        found = await self.post("query", wanted)
        pairs = zip(found["metadatas"][0], found["documents"][0], strict=True)
        return [Passage(about["document"], text) for about, text in pairs]

    async def take_in(self, passages: list[Passage]) -> int:
        """Hold these passages and no others; how many are new. Raises Problem."""
        held = set((await self.post("get", {"include": []}))["ids"])
        new = [passage for passage in passages if passage.id not in held]
        for start in range(0, len(new), 100):
            some = new[start : start + 100]
            ids, texts = [passage.id for passage in some], [passage.text for passage in some]
            vectors = await llm.embed(self.client, texts, self.settings)
            body = {"ids": ids, "embeddings": vectors, "documents": texts}
            about = [{"document": passage.document} for passage in some]
            await self.post("upsert", body | {"metadatas": about})
        if gone := sorted(held - {passage.id for passage in passages}):
            await self.post("delete", {"ids": gone})
        return len(new)

    async def look(self) -> None:
        """See whether Chroma can look into its data. Raises what is wrong.

        Its heartbeat does not: it goes on where the data cannot be read.
        """
        (await self.http.get(f"{DATABASE}/collections_count")).raise_for_status()

    async def aclose(self) -> None:
        """Close its connections."""
        await self.http.aclose()


def passages_of(folder: Path) -> Iterator[Passage]:
    """Every text below the folder, in pieces that end with a paragraph."""
    for path in sorted([*folder.rglob("*.md"), *folder.rglob("*.txt")]):
        pieces = [""]
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
            if len(pieces[-1]) + len(paragraph) > LONGEST:
                pieces.append("")
            pieces[-1] = f"{pieces[-1]}\n\n{paragraph}".strip()[:LONGEST]
        yield from (Passage(path.relative_to(folder).as_posix(), piece) for piece in pieces if piece)


async def main(folder: Path) -> None:
    settings = load_settings()
    passages = list(dict.fromkeys(passages_of(folder)))
    if not settings.can_answer or settings.chroma_url is None or not passages:
        raise SystemExit(f"documents: OPENAI_API_KEY, CHROMA_URL, or texts in {folder} are missing")
    try:
        async with llm.connect(settings) as client, aclosing(Documents(settings, client)) as documents:
            new = await documents.take_in(passages)
    except Problem as error:
        raise SystemExit(f"documents: {error.detail}") from None
    count = len({passage.document for passage in passages})
    print(f"{count} documents, {len(passages)} passages, {new} of them new")


if __name__ == "__main__":
    asyncio.run(main(Path(*sys.argv[1:2])))
