"""A built-in stand-in for the model provider, for a laptop without a key: `OPENAI_MODEL=stand-in`.

No language model: it repeats the question, and says that it is a stand-in. It takes the place of the network
below the OpenAI client, so that everything above it, streams and counting included, is what a server runs.
"""

import asyncio
import hashlib
import json
import math
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from lab_app.settings import STAND_IN

SAYS_SO = f"OPENAI_MODEL={STAND_IN}: the built-in stand-in answers, not a language model"
PAUSE = 0.02  # seconds between two words, so that a stream can be seen
DIMENSIONS = 256  # of an embedding
QUOTED = 300  # characters of a passage


class StandIn(httpx2.AsyncBaseTransport):
    """Answers what the OpenAI client asks, in this process. Nothing is sent, whatever the address."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = json.loads(await request.aread() or b"{}")
        path = request.url.path
        if path.endswith("/models"):
            return httpx2.Response(
                200, json={"object": "list", "data": [{"id": STAND_IN, "object": "model"}]}
            )
        if path.endswith("/embeddings"):
            places = [embedding(text) for text in asked["input"]]
            data = [{"object": "embedding", "index": i, "embedding": place} for i, place in enumerate(places)]
            usage = {"prompt_tokens": 0, "total_tokens": 0}
            body = {"object": "list", "model": STAND_IN, "data": data, "usage": usage}
            return httpx2.Response(200, json=body)
        if path.endswith("/chat/completions"):
            events = {"Content-Type": "text/event-stream"}
            return httpx2.Response(200, headers=events, stream=Pieces(asked["messages"]))
        return httpx2.Response(404)


class Pieces(httpx2.AsyncByteStream):
    """A chat completion as server-sent events, a word at a time."""

    def __init__(self, messages: list[dict[str, str]]) -> None:
        self.messages = messages

    async def __aiter__(self) -> AsyncIterator[bytes]:
        text = answer(self.messages)
        for word in re.findall(r"\S+\s*", text):
            yield event([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
            await asyncio.sleep(PAUSE)
        yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        prompt = sum(tokens(message["content"]) for message in self.messages)
        yield event([], {"prompt_tokens": prompt, "completion_tokens": tokens(text)})
        yield b"data: [DONE]\n\n"


def event(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    chunk = {
        "id": STAND_IN,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": STAND_IN,
        "choices": choices,
    }
    return b"data: %s\n\n" % json.dumps(chunk | {"usage": usage}).encode()


def answer(messages: list[dict[str, str]]) -> str:
    """What it says: who it is, the question, and the nearest passage where there is one."""
    *passages, question = (message["content"] for message in messages)
    said = f"I am the built-in stand-in, not a language model. You asked: “{question}”"
    return f"{said} The nearest passage says: “{passages[0][:QUOTED]}”" if passages else said


def tokens(text: str) -> int:
    """About how many tokens: four characters each, OpenAI's rule of thumb."""
    return -(-len(text) // 4)


def embedding(text: str) -> list[float]:
    """Texts that share words are near each other: each word counts in one of DIMENSIONS places."""
    places = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        places[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % DIMENSIONS] += 1
    length = math.hypot(*places) or 1.0
    return [place / length for place in places]
