"""The stand-in internet's language model: a small endpoint that speaks OpenAI's API.

Served as `uvicorn llm:app`; needs starlette and nothing else. It answers the same messages with the same
words, so that what a chapter shows is the same on every machine:

- With system messages that hold text, the answer is the sentence of them that shares most words with the
  last user message (the earliest of equals).
- Otherwise it says the last user message back, and that it was given no text about it.

A token is a run of letters, digits and underscores, or a single other character that is not white space:
`len(re.findall(r"\\w+|[^\\w\\s]", text))`. `prompt_tokens` counts the text of all messages, without their
roles; `completion_tokens` counts the answer.

An embedding counts a text's words, each at a place and with a sign that follow from the word alone, and has
length 1: texts that share words are near each other.

A key looks like `sk-lab-` and at least eight letters, digits or hyphens. Errors have OpenAI's shape. Whoever
has a key can make it worthless, for ever: `DELETE /v1/key` with it. Only its hash is kept.

A bad day can be asked for, by a program beside the endpoint and not in front of it:
`curl -X PUT 127.0.0.1:9000/fault -d '{"kind": "slow", "seconds": 8, "for": 60}'`. It ends by itself after
`for` seconds, or with `-X DELETE`. The kinds: `slow` (every answer comes `seconds` later), `dripping` (a
streamed answer waits `seconds` before each of its events), `lasting` (a streamed answer takes `seconds`; for
the first `silent`, 0 unless given, nothing comes, as from a model that thinks, and its events are spread
evenly over the rest), `busy` (429), `failing` (500), `hanging` (no answer at all), `cut` (the connection ends
in the middle of an answer).

`/bill` tells the holder of a key what was answered and will be charged for, whether or not a client was left
to get it; `curl -X DELETE 127.0.0.1:9000/bill`, from beside the endpoint, begins a new one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import os
import re
import struct
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

MODELS = ("lab-small", "lab-large")
EMBEDDING_MODELS = ("lab-embedding",)
DIMENSIONS = 512
MOST_INPUTS = 2048  # texts in one request for embeddings, as at OpenAI
KEY = re.compile(r"sk-lab-[A-Za-z0-9-]{8,}")
TOKEN = re.compile(r"\w+|[^\w\s]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
MAX_BODY = 1024 * 1024  # bytes
SAID_BACK = 200  # characters of the question that an answer repeats
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# Words that join rather than say something: a sentence is not an answer because it holds "the".
SMALL = """a an and are as at be by can do does for from has have how i if in is it its me my of on or so
    than that the this to was we what when where which who why will with you your"""
SMALL_WORDS = frozenset(SMALL.split())


class Refused(Exception):
    """A request that gets an error in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: starlette's own JSONResponse raises on half of a surrogate pair."""
    return Response(json.dumps(content), status, dict(headers or {}), media_type="application/json")


class Revoked:
    """The keys that are worth nothing any more, by their hashes: in a file where the service has a folder."""

    def __init__(self, folder: str) -> None:
        self.file = Path(folder, "revoked") if folder else None
        self.hashes = set(self.file.read_text().split()) if self.file and self.file.exists() else set()

    def add(self, key: str) -> None:
        self.hashes.add(mark := hashlib.sha256(key.encode()).hexdigest())
        if self.file:
            with self.file.open("a") as file:
                file.write(mark + "\n")

    def __contains__(self, key: str) -> bool:
        return hashlib.sha256(key.encode()).hexdigest() in self.hashes


revoked = Revoked(os.environ.get("STATE_DIRECTORY", ""))


def authorise(request: Request) -> str:
    """The key that the request carries. Raises Refused where it is none, or none any more."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refused(
            401,
            "You didn't provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not KEY.fullmatch(key.strip()) or key.strip() in revoked:
        raise Refused(
            401,
            "Incorrect API key provided. Keys of the lab start with sk-lab-, until they are revoked",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return key.strip()


async def read_object(request: Request) -> dict[str, Any]:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY:
            raise Refused(413, f"The body is larger than {MAX_BODY} bytes.", headers={"Connection": "close"})
    try:
        body = json.loads(received.decode())
    except (ValueError, RecursionError):
        raise Refused(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise Refused(400, "The body must be a JSON object.")
    return body


def known_model(name: object, models: tuple[str, ...]) -> str:
    if not isinstance(name, str) or not name:
        raise Refused(400, "You must provide a model parameter.", param="model")
    if name not in models:
        raise Refused(404, f"The model `{name[:100]}` does not exist.", code="model_not_found", param="model")
    return name


def text_of(content: object, where: str) -> str:
    """A message's content: a string, or a list of text parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""  # an assistant's message that only called a tool
    if isinstance(content, list):
        texts = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    raise Refused(400, f"Invalid content in {where}: a string or a list of text parts.", param=where)


def read_messages(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The conversation as (role, text) pairs."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "'messages' must be a list with at least one message.", param="messages")
    conversation = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refused(400, f"{where} needs a role: one of {', '.join(ROLES)}.", param=where)
        conversation.append((message["role"], text_of(message.get("content"), where)))
    return conversation


def read_limit(body: Mapping[str, Any]) -> int | None:
    """How many tokens the answer may have; None for no limit."""
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise Refused(400, f"'{name}' must be a whole number above 0.", param=name)
        return limit
    return None


def tokens(text: str) -> int:
    return len(TOKEN.findall(text))


def telling(text: str) -> list[str]:
    """Its words that say something, in their order."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in SMALL_WORDS]


def words(text: str) -> set[str]:
    return set(telling(text))


def compose(conversation: list[tuple[str, str]]) -> str:
    """The answer that follows from the messages."""
    question = next((text for role, text in reversed(conversation) if role == "user"), "")
    given = "\n".join(text for role, text in conversation if role in ("system", "developer"))
    question_words = words(question)
    sentences = [sentence.strip() for sentence in SENTENCE_END.split(given)]
    best = max(sentences, key=lambda sentence: len(words(sentence) & question_words), default="")
    if words(best) & question_words:
        return best
    question_text = " ".join(question.split())
    if len(question_text) > SAID_BACK:
        question_text = question_text[:SAID_BACK].rstrip() + "…"
    return f'You said: "{question_text}" I was given no text about it.'


def cut(text: str, limit: int | None) -> tuple[str, str]:
    """The text of at most that many tokens, and OpenAI's reason for its end."""
    tokens = list(TOKEN.finditer(text))
    if limit is None or len(tokens) <= limit:
        return text, "stop"
    return text[: tokens[limit - 1].end()], "length"


async def chat(request: Request) -> Response:
    authorise(request)
    body = await read_object(request)
    model = known_model(body.get("model"), MODELS)
    conversation = read_messages(body)
    limit = read_limit(body)
    if body.get("n") not in (None, 1):
        raise Refused(400, "This model gives one choice.", param="n", code="unsupported_value")
    answer, reason = cut(compose(conversation), limit)
    prompt = sum(tokens(text) for _, text in conversation)
    completion = tokens(answer)
    bill.update(answers=1, prompt_tokens=prompt, completion_tokens=completion)
    mark = hashlib.sha256(json.dumps([model, conversation, limit]).encode()).hexdigest()[:24]
    head = {"id": f"chatcmpl-{mark}", "created": int(time.time()), "model": model}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if body.get("stream"):
        with_usage = (body.get("stream_options") or {}).get("include_usage")
        return streamed(head, answer, reason, usage if with_usage else None)
    message = {"role": "assistant", "content": answer, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return reply(head | {"object": "chat.completion", "choices": [choice], "usage": usage})


def streamed(
    head: Mapping[str, object], answer: str, reason: str, usage: Mapping[str, int] | None
) -> Response:
    """The answer token by token, as server-sent events; its usage, if any, comes last."""
    starts = [found.start() for found in TOKEN.finditer(answer)] or [0]
    pieces = [answer[start:end] for start, end in zip([0, *starts[1:]], [*starts[1:], None], strict=True)]
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in pieces]
    deltas.append(({}, reason))
    chunks: list[dict[str, object]] = [
        {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}]}
        for delta, end in deltas
    ]
    if usage:
        chunks.append({"choices": [], "usage": usage})
    said = [json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
    events = [f"data: {each}\n\n".encode() for each in [*said, "[DONE]"]]

    async def send() -> AsyncIterator[bytes]:
        for event in events:
            yield event

    return StreamingResponse(send(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


bill: Counter[str] = Counter()
"""What was answered since it began."""


async def tell_bill(request: Request) -> Response:
    if request.method == "DELETE":
        for_who_sits_here(request)
        bill.clear()
    else:
        authorise(request)
    return reply({name: bill[name] for name in ("answers", "prompt_tokens", "completion_tokens")})


def embed(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in telling(text):
        digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
        vector[int.from_bytes(digest[:2]) % DIMENSIONS] += 1 if digest[2] % 2 else -1
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else [1.0, *vector[1:]]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()


async def embeddings(request: Request) -> Response:
    authorise(request)
    body = await read_object(request)
    model = known_model(body.get("model"), EMBEDDING_MODELS)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_INPUTS:
        raise Refused(400, f"'input' must be a text or a list of 1 to {MOST_INPUTS} texts.", param="input")
    if not all(isinstance(text, str) and text for text in texts):
        raise Refused(400, "'input' must hold texts that are not empty.", param="input")
    if body.get("dimensions") not in (None, DIMENSIONS):
        raise Refused(400, f"This model gives {DIMENSIONS} dimensions.", param="dimensions")
    form = body.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise Refused(400, "'encoding_format' must be float or base64.", param="encoding_format")
    embedded: list[object] = []
    for number, text in enumerate(texts):
        vector = embed(text)
        shown = packed(vector) if form == "base64" else vector
        embedded.append({"object": "embedding", "index": number, "embedding": shown})
    count = sum(tokens(text) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return reply({"object": "list", "data": embedded, "model": model, "usage": usage})


def describe(model: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": 1704067200, "owned_by": "lab"}


async def list_models(request: Request) -> Response:
    authorise(request)
    return reply({"object": "list", "data": [describe(model) for model in MODELS + EMBEDDING_MODELS]})


async def get_model(request: Request) -> Response:
    authorise(request)
    return reply(describe(known_model(request.path_params["model"], MODELS + EMBEDDING_MODELS)))


async def revoke(request: Request) -> Response:
    revoked.add(authorise(request))
    return reply({"object": "key", "deleted": True})


# ---- bad days ----

KINDS = ("slow", "dripping", "lasting", "busy", "failing", "hanging", "cut")
LONGEST = 600.0  # seconds that a bad day lasts at most


@dataclass(frozen=True)
class Fault:
    """What goes wrong until a moment of time.monotonic(); what is late is so by `seconds`.

    `silent`: the seconds of a `lasting` answer before its first event.
    """

    kind: str
    seconds: float
    until: float
    silent: float = 0.0

    def left(self) -> float:
        return max(self.until - time.monotonic(), 0)


class Today:
    """The fault of the day, if there is one."""

    fault: Fault | None = None

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def set(self, fault: Fault | None) -> None:
        self.fault = fault
        self.changed.set()  # requests that hang are let go
        self.changed = asyncio.Event()

    def now(self) -> Fault | None:
        return self.fault if self.fault and self.fault.left() else None


today = Today()


def for_who_sits_here(request: Request) -> None:
    if "x-forwarded-for" in request.headers:
        raise HTTPException(404)  # through the proxy, as the world comes


def number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LONGEST:
        raise Refused(400, f"'{name}' must be a number of seconds up to {LONGEST:.0f}.", param=name)
    return float(value)


async def fault(request: Request) -> Response:
    for_who_sits_here(request)
    if request.method == "PUT":
        body = await read_object(request)
        if body.get("kind") not in KINDS:
            raise Refused(400, f"'kind' must be one of {', '.join(KINDS)}.", param="kind")
        seconds, lasts = number(body, "seconds", 5), number(body, "for", 60)
        silent = number(body, "silent", 0) if "silent" in body else 0.0
        if silent > seconds:
            raise Refused(400, "'silent' is a part of 'seconds'.", param="silent")
        today.set(Fault(body["kind"], seconds, time.monotonic() + lasts, silent))
    elif request.method == "DELETE":
        today.set(None)
    now = today.now()
    return reply({"kind": now.kind, "seconds": now.seconds, "for": round(now.left(), 1)} if now else {})


Endpoint = Callable[[Request], Awaitable[Response]]


def on_bad_days(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with what is wrong today."""

    async def answer(request: Request) -> Response:
        now = today.now()
        if now and now.kind in ("slow", "hanging"):
            wait = now.left() if now.kind == "hanging" else now.seconds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(today.changed.wait(), wait)
        if now and now.kind == "busy":
            raise Refused(
                429,
                "Rate limit reached. Please try again later.",
                kind="requests",
                code="rate_limit_exceeded",
                headers={"Retry-After": "1"},
            )
        if now and now.kind == "failing":
            raise Refused(500, "The server had an error while processing your request.", kind="server_error")
        response = await endpoint(request)
        if now and isinstance(response, StreamingResponse) and now.kind in ("dripping", "lasting"):
            response.body_iterator = slowed(response.body_iterator, now)
        return cut_off(response) if now and now.kind == "cut" else response

    return answer


async def slowed(events: AsyncIterable[Any], day: Fault) -> AsyncIterator[Any]:
    """The events, each after a pause, as long as that day lasts."""
    known = [event async for event in events]
    pauses = [day.seconds] * len(known)
    if day.kind == "lasting":  # what is not silent is divided by the pauses between the events
        pauses = [day.silent, *[(day.seconds - day.silent) / (len(known) - 1)] * (len(known) - 1)]
    for pause, event in zip(pauses, known, strict=True):
        if day is today.now():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(today.changed.wait(), pause)
        yield event


class CutOff(Exception):
    """Ends a connection in the middle of an answer."""


def cut_off(response: Response) -> Response:
    """The first half of the answer, and then the end of the connection."""

    async def half() -> AsyncIterator[bytes]:
        if isinstance(response, StreamingResponse):
            events = [bytes(event) async for event in response.body_iterator]
            for event in events[: len(events) // 2]:
                yield event
        else:
            yield bytes(response.body)[: len(response.body) // 2]
        raise CutOff("as asked for")

    return StreamingResponse(half(), response.status_code, response.headers)


async def refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return reply(error.body, error.status, error.headers)


async def refuse_route(request: Request, error: Exception) -> Response:
    """An unknown path or method, which starlette would answer in plain text."""
    assert isinstance(error, HTTPException)
    message = f"Invalid URL ({request.method} {request.url.path})"
    return await refuse(request, Refused(error.status_code, message, headers=getattr(error, "headers", None)))


async def refuse_failure(request: Request, _: Exception) -> Response:
    return await refuse(request, Refused(500, "The server had an error.", kind="server_error"))


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    Refused: refuse,
    HTTPException: refuse_route,
    Exception: refuse_failure,
}

app = Starlette(
    routes=[
        Route("/v1/chat/completions", on_bad_days(chat), methods=["POST"]),
        Route("/v1/embeddings", on_bad_days(embeddings), methods=["POST"]),
        Route("/v1/models", on_bad_days(list_models), methods=["GET"]),
        Route("/v1/models/{model}", on_bad_days(get_model), methods=["GET"]),
        Route("/v1/key", revoke, methods=["DELETE"]),
        Route("/fault", fault, methods=["GET", "PUT", "DELETE"]),
        Route("/bill", tell_bill, methods=["GET", "DELETE"]),
    ],
    exception_handlers=HANDLERS,
)
