"""POST /api/chat: a question in, an answer out, whole or in pieces; each is accounted for."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Annotated, Any

import anyio
import openai
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, StringConstraints

from lab_app import auth, llm, metrics, rate_limit, reasons
from lab_app.documents import Documents
from lab_app.ledger import FAILURES, Entry, Ledger
from lab_app.problem_details import Problem
from lab_app.redis_store import RedisStore
from lab_app.settings import Settings

logger = logging.getLogger(__name__)

LONGEST = 4000  # characters of a question

# A name and what it brings: ("piece", {"text": …}) for each piece of an answer, then ("done", …), an Answer.
Event = tuple[str, dict[str, Any]]


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


@dataclass
class Chat:
    """What an answer is made with."""

    settings: Settings
    client: openai.AsyncOpenAI
    store: RedisStore
    ledger: Ledger
    documents: Documents | None

    async def ask(self, message: str) -> AsyncGenerator[Event, None]:
        """The answer in pieces as it comes, and then all that is known of it. Raises Problem."""
        if self.settings.openai_api_key is None:
            raise Problem(503, "llm_not_configured", "No language model: OPENAI_API_KEY is not set.")
        # Hashed: whoever can list Redis's keys shall not read there what people ask.
        key = f"answer:{sha256(f'{self.settings.openai_model}:{message}'.encode()).hexdigest()}"
        if stored := await self.store.ask(lambda redis: redis.get(key)):
            answer = Answer.model_validate_json(stored)
            answer.cached, answer.cost_usd = True, 0.0
            await self.account(Entry(answer.model, "cached"))
            yield "piece", {"text": answer.answer}
            yield "done", answer.model_dump()
            return
        try:
            passages = await self.documents.near(message) if self.documents else []
        except llm.Failure as failure:
            await self.account(Entry(self.settings.openai_embedding_model, "failed"), failure.detail)
            raise
        named = list(dict.fromkeys(passage.document for passage in passages))
        logger.debug("passages were found", extra={"operation": "chat", "documents": named})
        told = [{"role": "system", "content": passage.text} for passage in passages]
        call = llm.Call(self.client, self.settings, [*told, {"role": "user", "content": message}])
        outcome, error = "cancelled", "nobody waits for the answer any longer"
        try:
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    yield "piece", {"text": piece}
            outcome, error = "answered", ""
        except llm.Failure as failure:
            outcome, error = "failed", failure.detail
            raise
        finally:
            entry = call.entry(outcome)
            with anyio.CancelScope(shield=True):  # whoever asked may have left
                await self.account(entry, error)
        known = {"documents": named, "usage": call.usage(), "cost_usd": entry.cost_usd}
        answer = Answer.model_validate(known | {"answer": call.text, "model": call.model})
        if seconds := self.settings.cache_seconds:
            await self.store.ask(lambda redis: redis.set(key, answer.model_dump_json(), ex=seconds))
        yield "done", answer.model_dump()

    async def account(self, entry: Entry, error: str = "") -> None:
        """A line in the log, metrics, and a row in the ledger; one that is down does not undo an answer."""
        metrics.count_call(entry)
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


def router(chat: Chat, limit: rate_limit.RateLimit) -> APIRouter:
    routes = APIRouter()

    async def admit(request: Request) -> None:
        """Find out who asks, and where that leaves the limit. Raises Problem."""
        user = auth.user_of(request, chat.settings)
        # Wrong keys count as well: so that they cannot be guessed at full speed.
        request.state.headers = await limit.count(f"user {user}" if user else auth.address_of(request))
        if chat.settings.api_keys and not user:
            detail = "Send your key as a header: Authorization: Bearer KEY."
            headers = request.state.headers | {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "not_authenticated", detail, headers)

    # Before the body is looked at: who may not ask is told nothing about it.
    @routes.post("/api/chat", response_model=Answer, dependencies=[Depends(admit)])
    async def ask(question: Question, request: Request) -> Response:
        headers, events = request.state.headers, chat.ask(question.message)
        if not question.stream:
            *_, (_, answer) = [event async for event in events]
            return JSONResponse(answer, headers=headers)
        first = await anext(events)  # what fails before it is an error like any other
        # nginx would collect a whole answer before it hands it on, were it not told.
        headers |= {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(sent(first, events), headers=headers, media_type="text/event-stream")

    return routes


async def sent(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncIterator[str]:
    """Server-sent events: those of an answer, and why it broke off if it did."""

    def line(name: str, data: dict[str, Any]) -> str:
        return f"event: {name}\ndata: {json.dumps(data)}\n\n"

    async with aclosing(rest):
        yield line(*first)
        try:
            async for event in rest:
                yield line(*event)
        except Problem as problem:
            yield line("error", problem.body())
