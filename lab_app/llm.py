"""The language model: calls of an OpenAI-compatible address, with every way to fail named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import genai_prices
import httpx2
import openai
from pydantic import BaseModel, NonNegativeInt

from lab_app.problems import Problem
from lab_app.reasons import status_of, why
from lab_app.settings import Settings


class Usage(BaseModel):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


class NoAnswer(Problem):
    """Why there is no answer, in words without an address or a secret."""


FAILURES = (openai.OpenAIError, TimeoutError, ValueError)  # ValueError: the body is not JSON


def connect(settings: Settings) -> openai.AsyncOpenAI | None:
    """A client, or None without a key. Nothing is sent yet.

    The library's own limits are 10 minutes and two more attempts: far too long for someone who waits. It is
    tried once, since a request that was cut off may have been paid for already. Certificates are checked
    against the operating system's store, as httpx2 does by default.
    """
    if settings.openai_api_key is None:
        return None
    client = openai.AsyncOpenAI(
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=str(settings.openai_base_url),
        max_retries=0,
        http_client=httpx2.AsyncClient(
            timeout=httpx2.Timeout(settings.openai_timeout, connect=5),
            limits=httpx2.Limits(max_connections=100, keepalive_expiry=60),
        ),
    )
    # These import a few hundred modules when first used; not while a request waits.
    _ = client.chat.completions, client.models, client.embeddings
    return client


@dataclass
class Call:
    """One call of the model. It is always asked for its answer in pieces: so that one that breaks off, or
    that nobody waits for any longer, has a length, and can be counted."""

    client: openai.AsyncOpenAI
    messages: list[dict[str, str]]
    settings: Settings
    model: str
    received: list[str] = field(default_factory=list)
    counted: Usage | None = None  # by the model itself
    finished: bool = False
    started: float = field(default_factory=time.perf_counter)

    @property
    def text(self) -> str:
        return "".join(self.received)

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The answer as it comes, within the time-out from name resolution to last byte; else NoAnswer."""
        until = asyncio.get_running_loop().time() + self.settings.openai_timeout
        try:
            async with asyncio.timeout_at(until):
                stream = await self.client.chat.completions.create(
                    model=self.model,
                    messages=self.messages,
                    stream=True,
                    stream_options={"include_usage": True},
                )  # type: ignore[call-overload]
            while True:
                # Only while something is waited for: what reads our pieces may be cancelled at any time.
                async with asyncio.timeout_at(until):
                    if (chunk := await anext(stream, None)) is None:
                        break
                if text := self.take(chunk):
                    yield text
        except FAILURES as error:
            raise explain(error) from error
        if not self.received and not self.finished:
            raise NoAnswer(502, "llm_bad_answer", "what came back is not a chat completion")
        if not self.finished or self.counted is None:
            raise NoAnswer(502, "llm_cut", "its answer broke off")

    def take(self, chunk: Any) -> str:
        """What a chunk says. The library does not validate: an address may send anything."""
        try:
            found = chunk.model_dump(warnings=False)
            if found.get("usage") is not None:
                self.counted = Usage(**found["usage"])
            text = ""
            for choice in found["choices"][:1]:
                text = choice["delta"].get("content") or ""
                self.finished = self.finished or choice.get("finish_reason") is not None
            self.model = str(found.get("model") or self.model)
            text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent on
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NoAnswer(502, "llm_bad_answer", "what came back is not a chat completion") from error
        if text:
            self.received.append(text)
        return text

    @property
    def usage(self) -> Usage:
        """The model's own count, else an estimate: four characters a token, OpenAI's rule of thumb."""
        if self.counted or not self.received:  # what failed before its first word is not charged for
            return self.counted or Usage(prompt_tokens=0, completion_tokens=0)
        sent = sum(len(message["content"]) for message in self.messages)
        return Usage(prompt_tokens=-(-sent // 4), completion_tokens=-(-len(self.text) // 4))

    @property
    def cost(self) -> Decimal | None:
        """In dollars; None where the price of the model is not known."""
        used = self.usage
        count = genai_prices.Usage(input_tokens=used.prompt_tokens, output_tokens=used.completion_tokens)
        try:
            named = self.settings.openai_priced_as or self.model
            return genai_prices.calc_price(count, named, provider_id="openai").total_price
        except LookupError:
            return None

    def elapsed(self) -> float:
        """Milliseconds since it began."""
        return round((time.perf_counter() - self.started) * 1000, 1)


async def embed(client: openai.AsyncOpenAI, texts: list[str], settings: Settings) -> list[list[float]]:
    """Where each text stands in the model's space of meanings. Raises NoAnswer."""
    try:
        async with asyncio.timeout(settings.openai_timeout):
            found = await client.embeddings.create(
                model=settings.openai_embedding_model, input=texts, encoding_format="float"
            )
        return [item.embedding for item in found.data]
    except (*FAILURES, AttributeError, TypeError) as error:
        raise explain(error) from error


async def look(client: openai.AsyncOpenAI) -> None:
    """Ask for the list of models, which costs nothing. Raises what is wrong."""
    await client.models.list()


def explain(error: Exception) -> NoAnswer:
    """What went wrong, for whoever asked."""
    words, status = why(error), status_of(error)
    if status is not None:
        refused = {401: "llm_key_refused", 403: "llm_key_refused", 429: "llm_busy"}
        return NoAnswer(503 if status == 429 else 502, refused.get(status, "llm_error"), words)
    if words == "no answer in time":
        return NoAnswer(504, "llm_timeout", words)
    if isinstance(error, openai.APIConnectionError):
        return NoAnswer(502, "llm_untrusted" if "certificate" in words else "llm_unreachable", words)
    return NoAnswer(502, "llm_bad_answer", "what came back is not JSON of the expected shape")
