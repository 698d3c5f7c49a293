"""The language model: one question to an OpenAI-compatible address, with every way to fail named."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator

import httpx2
import openai
from pydantic import BaseModel

from lab_app.problems import Problem
from lab_app.settings import Settings


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class Answer(BaseModel):
    answer: str
    model: str
    usage: Usage


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
    _ = client.chat.completions, client.models
    return client


async def ask(client: openai.AsyncOpenAI, message: str, settings: Settings) -> Answer:
    """One answer within the time-out, counted from name resolution to last byte; else NoAnswer."""
    try:
        async with asyncio.timeout(settings.openai_timeout):
            completion = await client.chat.completions.create(
                model=settings.openai_model, messages=[{"role": "user", "content": message}]
            )
    except FAILURES as error:
        raise explain(error) from error
    try:
        # The library does not validate: an address that only resembles OpenAI's may send anything.
        found = completion.model_dump(warnings=False)
        text = found["choices"][0]["message"]["content"]
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent on
        return Answer(answer=text, model=found["model"], usage=found["usage"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NoAnswer(502, "llm_bad_answer", "what came back is not a chat completion") from error


async def probe(client: openai.AsyncOpenAI) -> str | None:
    """Ask for the list of models, which costs nothing: None if it comes, else why not."""
    try:
        await client.models.list()
    except FAILURES as error:
        return explain(error).detail
    return None


def explain(error: BaseException) -> NoAnswer:
    """What went wrong, by the first cause that says it."""
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        if status in (401, 403):
            return NoAnswer(502, "llm_key_refused", f"it refuses the key ({status})")
        if status == 429:
            return NoAnswer(503, "llm_busy", "rate limited or out of quota (429)")
        return NoAnswer(502, "llm_error", f"it answers with HTTP {status}")
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NoAnswer(502, "llm_untrusted", "its certificate is not trusted")
        if isinstance(cause, socket.gaierror):
            return NoAnswer(502, "llm_unreachable", "its name does not resolve")
        if isinstance(cause, TimeoutError | openai.APITimeoutError):
            return NoAnswer(504, "llm_timeout", "no answer in time")
    if isinstance(error, openai.APIConnectionError):
        return NoAnswer(502, "llm_unreachable", "no connection")
    return NoAnswer(502, "llm_bad_answer", "what came back is not JSON of the expected shape")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from, down to the operating system's word."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from causes(member)
        error = error.__cause__ or error.__context__
