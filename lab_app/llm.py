"""The language model: calls of an OpenAI-compatible address, with every way to fail named."""

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

from lab_app import ledger, reasons
from lab_app.problem_details import Problem
from lab_app.settings import Settings
from lab_app.stand_in import StandIn

# The library does not validate: an address may send anything, and the last four are what comes of that.
FAILURES = (openai.OpenAIError, TimeoutError, ValueError, KeyError, TypeError, AttributeError)
CONNECT = 10.0  # seconds until there is a connection
# With the model's own count at the end.
IN_PIECES: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class Failure(Problem):
    """The model did not answer, or not in full."""


class Usage(BaseModel):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


def connect(settings: Settings) -> openai.AsyncOpenAI:
    """A client. Nothing is sent yet; without a key nothing may be.

    The library's own limits are 10 minutes without a word and two more attempts: far too long for someone who
    waits. Here only a connection that does not come about is left to it; `Call.pieces` and `embed` have the
    limits for what comes after. A question is asked once, since one that was cut off may have been paid for
    already. Certificates are checked against the operating system's store, as the library does by default.
    """
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "not-set"
    url, limit = str(settings.openai_base_url), openai.Timeout(settings.openai_timeout, connect=CONNECT)
    http = httpx2.AsyncClient(transport=StandIn()) if settings.is_stand_in else None
    client = openai.AsyncOpenAI(api_key=key, base_url=url, timeout=limit, max_retries=0, http_client=http)
    # These import a few hundred modules when first used; not while a request waits.
    _ = client.chat.completions, client.models, client.embeddings
    return client


@dataclass
class LatestCall:
    """How the latest call that came to an end went, in this process; nothing is known before the first."""

    known: bool = False
    failed: str = ""  # why

    def note(self, outcome: str, error: str) -> None:
        """Of one that was cancelled, or came from the cache, nothing follows."""
        if outcome in ("answered", "failed"):
            self.known, self.failed = True, error


@dataclass
class Call:
    """One call of the model. It is always asked for its answer in pieces: so that one that breaks off, or
    that nobody waits for any longer, has a length, and can be counted."""

    client: openai.AsyncOpenAI
    settings: Settings
    messages: list[Any]  # of the chat, each a dictionary of role and content
    text: str = ""
    model: str = ""
    counted: Usage | None = None  # by the model itself
    finished: bool = False
    started: float = field(default_factory=time.perf_counter)

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The answer as it comes; else Failure.

        Three limits: for the whole, from name resolution to the last byte; until the first piece, since a
        model may think; and for each silence after that. The last does not count while our reader is slow.
        """
        self.model = self.settings.openai_model
        stream: Any = None
        now = asyncio.get_running_loop().time
        end = now() + self.settings.openai_timeout
        until = now() + self.settings.openai_first_piece_timeout
        try:
            while True:
                # Only while something is waited for: what reads our pieces may be cancelled at any time.
                async with asyncio.timeout_at(min(end, until)):
                    stream = stream or await self.client.chat.completions.create(
                        model=self.model,
                        messages=self.messages,
                        max_completion_tokens=self.settings.openai_max_tokens,
                        **IN_PIECES,
                    )
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                if piece := self.take(chunk):
                    yield piece
                if self.text:
                    until = now() + self.settings.openai_silence_timeout
        except FAILURES as error:
            raise explain(error) from error
        if not self.text and not self.finished:
            raise Failure(502, "llm_bad_answer", "what came back is not a chat completion")
        if not self.finished or self.counted is None:
            raise Failure(502, "llm_cut", "its answer broke off")

    def take(self, chunk: Any) -> str:
        """What a chunk says. Raises one of FAILURES."""
        found = chunk.model_dump(warnings=False)
        if found.get("usage") is not None:
            self.counted = Usage(**found["usage"])
        self.model = str(found.get("model") or self.model)
        piece = ""
        for choice in found["choices"][:1]:
            self.finished = self.finished or choice.get("finish_reason") is not None
            # Half a surrogate pair cannot be sent on.
            piece = (choice["delta"].get("content") or "").encode("utf-8", "replace").decode()
        self.text += piece
        return piece

    def usage(self) -> Usage:
        """The model's own count, else an estimate: four characters a token, OpenAI's rule of thumb."""
        if self.counted or not self.text:  # what failed before its first word is not charged for
            return self.counted or Usage(prompt_tokens=0, completion_tokens=0)
        sent = sum(len(message["content"]) for message in self.messages)
        return Usage(prompt_tokens=-(-sent // 4), completion_tokens=-(-len(self.text) // 4))

    def cost(self) -> Decimal | None:
        """Dollars; None where no price is known."""
        if self.settings.is_stand_in:
            return Decimal()
        used = self.usage()
        count = genai_prices.Usage(input_tokens=used.prompt_tokens, output_tokens=used.completion_tokens)
        priced_as = self.settings.openai_priced_as or self.model
        try:
            price = genai_prices.calc_price(count, priced_as, provider_id="openai").total_price
        except LookupError:
            return None
        return round(price, 10)  # the places that the ledger has, so that the log says the same

    def entry(self, outcome: str) -> ledger.Entry:
        """What it came to."""
        counted = self.usage().model_dump() | {"estimated": self.counted is None, "cost_usd": self.cost()}
        took = round((time.perf_counter() - self.started) * 1000, 1)
        return ledger.Entry(self.model, outcome, **counted, duration_ms=took)


async def embed(client: openai.AsyncOpenAI, texts: list[str], settings: Settings) -> list[list[float]]:
    """Where each text stands in the model's space of meanings. Raises Failure.

    Where the connection breaks off it is asked for once more, at once and within the same time-out: unlike an
    answer it costs next to nothing, and is the same again. A provider that hangs is noticed here, long before
    an answer would be given up.
    """
    asked: Any = {"model": settings.openai_embedding_model, "input": texts, "encoding_format": "float"}
    try:
        async with asyncio.timeout(settings.openai_silence_timeout):
            try:
                found = await client.embeddings.create(**asked)
            except openai.APIConnectionError as error:
                if reasons.why(error) != reasons.BROKE_OFF:
                    raise
                found = await client.embeddings.create(**asked)
        return [item.embedding for item in found.data]
    except FAILURES as error:
        raise explain(error) from error


def explain(error: Exception) -> Failure:
    """What went wrong, for whoever asked, in words without an address or a secret."""
    words, status = reasons.why(error), reasons.status_of(error)
    if status is not None:
        refused = {401: "llm_key_refused", 403: "llm_key_refused", 429: "llm_busy"}
        return Failure(503 if status == 429 else 502, refused.get(status, "llm_error"), words)
    if words == "no answer in time":
        return Failure(504, "llm_timeout", words)
    if isinstance(error, openai.APIConnectionError):
        return Failure(502, "llm_unreachable", words)
    return Failure(502, "llm_bad_answer", "what came back is not JSON of the expected shape")
