"""POST /api/chat: a question in, an answer out, whole or in pieces; each is accounted for."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Annotated, Any, cast

import anyio
from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel, StringConstraints

from lab_app import auth, llm, metrics, problem_details, reasons
from lab_app.auth import CurrentUser
from lab_app.dependencies import (
    DocumentsDep,
    LatestCallDep,
    LedgerDep,
    OpenAIDep,
    RateLimitDep,
    SettingsDep,
    StoreDep,
)
from lab_app.documents import Passage
from lab_app.ledger import FAILURES, Entry
from lab_app.problem_details import Problem

logger = logging.getLogger(__name__)

LONGEST = 4000  # characters of a question


class Question(BaseModel, extra="forbid"):
    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST)]
    stream: bool = False


class Answer(BaseModel):
    answer: str
    model: str
    documents: list[str]
    usage: llm.Usage
    cost_usd: float | None
    cached: bool = False


class Piece(BaseModel):
    """The next words of an answer."""

    text: str


@dataclass
class Chat:
    """What an answer is made with. FastAPI makes one for each question, from the types of its fields."""

    settings: SettingsDep
    client: OpenAIDep
    latest_call: LatestCallDep
    store: StoreDep
    ledger: LedgerDep
    documents: DocumentsDep

    async def ask(self, message: str) -> AsyncGenerator[Piece | Answer, None]:
        """The answer in pieces as it comes, and then all that is known of it. Raises Problem."""
        if not self.settings.can_answer:
            raise Problem(503, "llm_not_configured", "No language model: OPENAI_API_KEY is not set.")
        # Hashed: whoever can list Redis's keys shall not read there what people ask.
        key = f"answer:{sha256(f'{self.settings.openai_model}:{message}'.encode()).hexdigest()}"
        if stored := await self.store.ask(lambda redis: redis.get(key)):
            answer = Answer.model_validate_json(stored).model_copy(update={"cached": True, "cost_usd": 0.0})
            await self.account(Entry(answer.model, "cached"))
            yield Piece(text=answer.answer)
            yield answer
            return
        passages = await self.near(message)
        named = list(dict.fromkeys(passage.document for passage in passages))
        logger.debug("passages were found", extra={"operation": "chat", "documents": named})
        told = [{"role": "system", "content": passage.text} for passage in passages]
        call = llm.Call(self.client, self.settings, [*told, {"role": "user", "content": message}])
        async with aclosing(self.accounted(call)) as pieces:
            async for piece in pieces:
                yield Piece(text=piece)
        known = {"documents": named, "usage": call.usage(), "cost_usd": call.cost()}
        answer = Answer.model_validate(known | {"answer": call.text, "model": call.model})
        if seconds := self.settings.cache_seconds:
            await self.store.ask(lambda redis: redis.set(key, answer.model_dump_json(), ex=seconds))
        yield answer

    async def near(self, message: str) -> list[Passage]:
        """The passages that the answer shall come from. Raises Problem."""
        try:
            return await self.documents.near(message) if self.documents else []
        except llm.Failure as failure:
            await self.account(Entry(self.settings.openai_embedding_model, "failed"), failure.detail)
            raise

    async def accounted(self, call: llm.Call) -> AsyncGenerator[str, None]:
        """The call's pieces; it is accounted for however it ends. Raises Problem."""
        outcome, error = "cancelled", "nobody waits for the answer any longer"
        try:
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
            outcome, error = "answered", ""
        except llm.Failure as failure:
            outcome, error = "failed", failure.detail
            raise
        finally:
            entry = call.entry(outcome)
            with anyio.CancelScope(shield=True):  # whoever asked may have left
                await self.account(entry, error)

    async def account(self, entry: Entry, error: str = "") -> None:
        """A line in the log, metrics, and a row in the ledger; one that is down does not undo an answer."""
        metrics.count_call(entry)
        self.latest_call.note(entry.outcome, error)
        fields = {**asdict(entry), "event_type": "llm_error" if error else "llm_call", "operation": "chat"}
        fields |= {"error": error} if error else {}
        level = logging.ERROR if entry.outcome == "failed" else logging.WARNING if error else logging.INFO
        logger.log(level, "the question was %s", entry.outcome, extra=fields)
        try:
            await self.ledger.add(entry)
        except FAILURES as problem:
            metrics.unrecorded.inc()
            fields = {"event_type": "ledger_error", "error": reasons.why(problem)}
            logger.error("a row of the ledger is lost: it is in the log line before", extra=fields)


async def admit(
    request: Request, response: Response, user: CurrentUser, settings: SettingsDep, limit: RateLimitDep
) -> None:
    """Count who asks, and refuse who may not. Raises Problem."""
    # Wrong keys count as well: so that they cannot be guessed at full speed.
    counted = await limit.count(f"user {user}" if user else auth.address_of(request))
    response.headers.update(counted)
    request.state.headers = counted  # for an answer that is an error
    if settings.api_keys and not user:
        detail = "Send your key as a header: Authorization: Bearer KEY."
        raise Problem(401, "not_authenticated", detail, {"WWW-Authenticate": "Bearer"})


EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {"event": {"enum": ["piece", "done", "error"]}, "data": {"type": "string"}},
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream` as events: `piece` for each piece, then `done` or `error`.",
        "content": {"text/event-stream": {"itemSchema": EVENT}},
    },
    **problem_details.documented(
        {
            400: "The body cannot be parsed.",
            401: "No key, or none that is known.",
            408: "The body did not arrive in time.",
            413: "The body is too large.",
            422: "The body is no question.",
            429: "Too many questions: `Retry-After` has the seconds until the next may be asked.",
            500: "A fault of this application.",
            502: "The language model answers wrongly, breaks off, refuses, or cannot be reached.",
            503: "No language model is configured, it is busy, or the documents cannot be searched.",
            504: "The language model did not answer in time.",
        }
    ),
}
router = APIRouter()


# Before the body is read: a client that may not ask learns nothing about it.
@router.post("/api/chat", response_model=Answer, responses=ANSWERS, dependencies=[Depends(admit)])
async def ask(question: Question, response: Response, chat: Annotated[Chat, Depends()]) -> Answer | Response:
    parts = chat.ask(question.message)
    if not question.stream:
        async with aclosing(parts):
            *_, answer = [part async for part in parts]
        return cast(Answer, answer)
    first = await anext(parts)  # what fails before it is an error like any other
    # nginx would collect a whole answer before it hands it on, were it not told.
    headers = {**response.headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(events(first, parts), headers=headers)


async def events(first: Piece | Answer, rest: AsyncGenerator[Piece | Answer, None]) -> AsyncIterator[bytes]:
    """Server-sent events: `piece` for each piece, then `done`, or `error` and why the answer broke off."""
    async with aclosing(rest):
        yield event(first)
        try:
            async for part in rest:
                yield event(part)
        except Problem as problem:
            yield format_sse_event(event="error", data_str=json.dumps(problem.body()))


def event(part: Piece | Answer) -> bytes:
    name = "piece" if isinstance(part, Piece) else "done"
    return format_sse_event(event=name, data_str=json.dumps(part.model_dump()))
