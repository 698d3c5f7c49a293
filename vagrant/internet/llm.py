"""The stand-in internet's language model: a small endpoint that speaks OpenAI's chat API.

Served as `uvicorn llm:app`; needs starlette and nothing else. It answers the same messages with the same
words, so that what a chapter shows is the same on every machine:

- With system messages that hold text, the answer is the sentence of them that shares most words with the
  last user message (the earliest of equals).
- Otherwise it says the last user message back, and that it was given no text about it.

A token is a run of letters, digits and underscores, or a single other character that is not white space:
`len(re.findall(r"\\w+|[^\\w\\s]", text))`. `prompt_tokens` counts the text of all messages, without their
roles; `completion_tokens` counts the answer.

A key looks like `sk-lab-` and at least eight letters, digits or hyphens. Errors have OpenAI's shape.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MODELS = ("lab-small", "lab-large")
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


def authorise(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refused(
            401,
            "You didn't provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not KEY.fullmatch(key.strip()):
        raise Refused(
            401,
            "Incorrect API key provided. Keys of the lab start with sk-lab-",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


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


def known_model(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise Refused(400, "You must provide a model parameter.", param="model")
    if name not in MODELS:
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


def words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if word not in SMALL_WORDS}


def compose(conversation: list[tuple[str, str]]) -> str:
    """The answer that follows from the messages."""
    question = next((text for role, text in reversed(conversation) if role == "user"), "")
    given = "\n".join(text for role, text in conversation if role in ("system", "developer"))
    asked = words(question)
    sentences = [sentence.strip() for sentence in SENTENCE_END.split(given)]
    best = max(sentences, key=lambda sentence: len(words(sentence) & asked), default="")
    if words(best) & asked:
        return best
    said = " ".join(question.split())
    if len(said) > SAID_BACK:
        said = said[:SAID_BACK].rstrip() + "…"
    return f'You said: "{said}" I was given no text about it.'


def cut(text: str, limit: int | None) -> tuple[str, str]:
    """The text of at most that many tokens, and OpenAI's reason for its end."""
    found = list(TOKEN.finditer(text))
    if limit is None or len(found) <= limit:
        return text, "stop"
    return text[: found[limit - 1].end()], "length"


async def chat(request: Request) -> Response:
    authorise(request)
    body = await read_object(request)
    model = known_model(body.get("model"))
    conversation = read_messages(body)
    limit = read_limit(body)
    if body.get("stream"):
        raise Refused(400, "This model does not stream.", param="stream", code="unsupported_value")
    if body.get("n") not in (None, 1):
        raise Refused(400, "This model gives one choice.", param="n", code="unsupported_value")
    answer, reason = cut(compose(conversation), limit)
    prompt = sum(tokens(text) for _, text in conversation)
    completion = tokens(answer)
    mark = hashlib.sha256(json.dumps([model, conversation, limit]).encode()).hexdigest()[:24]
    message = {"role": "assistant", "content": answer, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return reply(
        {
            "id": f"chatcmpl-{mark}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
    )


def describe(model: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": 1704067200, "owned_by": "lab"}


async def list_models(request: Request) -> Response:
    authorise(request)
    return reply({"object": "list", "data": [describe(model) for model in MODELS]})


async def get_model(request: Request) -> Response:
    authorise(request)
    return reply(describe(known_model(request.path_params["model"])))


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
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{model}", get_model, methods=["GET"]),
    ],
    exception_handlers=HANDLERS,
)
