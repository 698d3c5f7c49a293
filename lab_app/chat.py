"""POST /api/chat: a question in, the model's answer out."""

from __future__ import annotations

import logging
import time
from typing import Annotated

import openai
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints

from lab_app.llm import Answer, NoAnswer, ask
from lab_app.problems import Problem
from lab_app.settings import Settings

logger = logging.getLogger(__name__)


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


def router(client: openai.AsyncOpenAI | None, settings: Settings) -> APIRouter:
    routes = APIRouter()

    @routes.post("/api/chat")
    async def chat(question: Question) -> Answer:
        if client is None:
            raise Problem(503, "llm_not_configured", "No language model: OPENAI_API_KEY is not set.")
        fields: dict[str, object] = {"operation": "chat", "model": settings.openai_model}
        started = time.perf_counter()
        try:
            answer = await ask(client, question.message, settings)
        except NoAnswer as problem:
            fields |= {"event_type": "llm_error", "duration_ms": elapsed(started), "error": problem.reason}
            logger.error("the language model gave no answer: %s", problem.detail, extra=fields)
            raise
        fields |= {"event_type": "llm_call", "duration_ms": elapsed(started), "model": answer.model}
        logger.info("the language model answered", extra=fields | answer.usage.model_dump())
        return answer

    return routes


def elapsed(started: float) -> float:
    """Milliseconds since then."""
    return round((time.perf_counter() - started) * 1000, 1)
