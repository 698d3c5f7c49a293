"""POST /api/chat: a question in, an answer out, whole or in pieces; each is accounted for."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

import openai
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, PlainSerializer, StringConstraints

from lab_app import metrics
from lab_app.answers import Answers
from lab_app.documents import Documents
from lab_app.json_logs import request_id
from lab_app.ledger import FAILURES, NOTHING, Entry, Ledger
from lab_app.limits import Limit
from lab_app.llm import Call, Usage
from lab_app.problems import Problem
from lab_app.reasons import why
from lab_app.settings import Settings
from lab_app.users import address_of, user_of

logger = logging.getLogger(__name__)


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    stream: bool = False


class Answer(BaseModel):
    answer: str
    model: str
    documents: list[str]
    usage: Usage
    cost_usd: Annotated[Decimal, PlainSerializer(float)] | None
    cached: bool = False


@dataclass
class Chat:
    """What an answer is made with."""

    settings: Settings
    client: openai.AsyncOpenAI | None
    answers: Answers
    ledger: Ledger
    documents: Documents | None
    # Accounts that are still being written, for clients that have left.
    writing: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, message: str, user: str) -> AsyncGenerator[str | Answer, None]:
        """The answer in pieces as it comes, and then all that is known of it. Raises Problem."""
        if self.client is None:
            raise Problem(503, "llm_not_configured", "No language model: OPENAI_API_KEY is not set.")
        key = Answers.key(self.settings.openai_model, message)
        if stored := await self.answers.get(key):
            answer = Answer.model_validate_json(stored).model_copy(
                update={"cached": True, "cost_usd": NOTHING}
            )
            await self.account(user, "cached", answer)
            yield answer.answer
            yield answer
            return
        passages = await self.documents.near(message) if self.documents else []
        named = list(dict.fromkeys(passage.document for passage in passages))
        told = [{"role": "system", "content": passage.text} for passage in passages]
        messages = [*told, {"role": "user", "content": message}]
        call = Call(self.client, messages, self.settings, self.settings.openai_model)
        outcome, error = "cancelled", "nobody waits for the answer any longer"
        try:
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
            outcome, error = "answered", ""
        except Problem as problem:
            outcome, error = "failed", problem.detail
            raise
        finally:
            answer = Answer(
                answer=call.text, model=call.model, documents=named, usage=call.usage, cost_usd=call.cost
            )
            # In a task of its own: this one may have been cancelled.
            task = asyncio.create_task(self.account(user, outcome, answer, error, call))
            self.writing.add(task)
            task.add_done_callback(self.writing.discard)
        await task
        await self.answers.put(key, answer.model_dump_json())
        yield answer

    async def account(
        self, user: str, outcome: str, answer: Answer, error: str = "", call: Call | None = None
    ) -> None:
        """A line in the log, metrics, and a row in the ledger; one that is down does not undo an answer."""
        used = answer.usage if call else Usage(prompt_tokens=0, completion_tokens=0)
        spent = Entry(
            request_id=request_id.get() or "", user_id=user, model=answer.model, outcome=outcome,
            prompt_tokens=used.prompt_tokens, completion_tokens=used.completion_tokens,
            estimated=call is not None and call.counted is None, cost_usd=answer.cost_usd,
            duration_ms=call.elapsed() if call else 0.0,
        )  # fmt: skip
        metrics.count_call(spent)
        fields = spent.for_the_log() | {
            "event_type": "llm_error" if error else "llm_call",
            "operation": "chat",
        }
        fields |= {"error": error} if error else {}
        level = logging.ERROR if outcome == "failed" else logging.WARNING if error else logging.INFO
        logger.log(level, "the question was %s", outcome, extra=fields)
        try:
            await self.ledger.add(spent)
        except FAILURES as problem:
            metrics.unrecorded.inc()
            fields = {"event_type": "ledger_error", "error": why(problem)}
            logger.error("a row of the ledger is lost: it is in the log line before", extra=fields)


def router(chat: Chat, limit: Limit) -> APIRouter:
    routes = APIRouter()

    async def admit(request: Request) -> None:
        """Find out who asks, and where that leaves the limit. Raises Problem."""
        try:
            user = user_of(request, chat.settings)
        except Problem as problem:
            # So that keys cannot be guessed at full speed.
            problem.headers |= await limit.count(address_of(request))
            raise
        request.state.user = user or "anonymous"
        request.state.headers = await limit.count(f"user {user}" if user else address_of(request))

    # Before the body is looked at: who may not ask is told nothing about it.
    @routes.post("/api/chat", response_model=Answer, dependencies=[Depends(admit)])
    async def ask(question: Question, request: Request) -> Response:
        headers = request.state.headers
        pieces = chat.ask(question.message, request.state.user)
        if question.stream:
            first = await anext(pieces)  # what fails before the first word is an error like any other
            # nginx would collect a whole answer before it hands it on, were it not told.
            headers |= {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(events(first, pieces), headers=headers, media_type="text/event-stream")
        answer = await unless_gone(request, last(pieces))
        return JSONResponse(answer.model_dump(), headers=headers) if answer else Response(status_code=499)

    return routes


async def last(pieces: AsyncGenerator[str | Answer, None]) -> Answer:
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answer):
                return piece
    raise AssertionError("an answer ends with an Answer")


async def events(first: str | Answer, rest: AsyncGenerator[str | Answer, None]) -> AsyncIterator[str]:
    """Server-sent events: pieces, then all that is known of the answer, or why it broke off."""

    def event(name: str, data: dict[str, Any]) -> str:
        return f"event: {name}\ndata: {json.dumps(data)}\n\n"

    async with aclosing(rest):
        try:
            piece: str | Answer | None = first
            while piece is not None:
                yield (
                    event("done", piece.model_dump())
                    if isinstance(piece, Answer)
                    else event("piece", {"text": piece})
                )
                piece = await anext(rest, None)
        except Problem as problem:
            yield event("error", problem.body())


async def unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer | None:
    """The work's result; None where the client left first, which ends the work."""

    async def until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = task, gone = asyncio.create_task(work), asyncio.create_task(until_gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
