"""A log to search in: `python -m lab_app.logging_demo [DIRECTORY]` writes one, as the application would."""

import logging
import sys
import tempfile
from pathlib import Path

from lab_app import json_logs, middleware, settings

logger = logging.getLogger("lab_app.demo")


def chat(number: int) -> None:
    """What one question leaves in the log: one in four fails."""
    json_logs.request_id.set(f"req_{number:03}")
    json_logs.user_id.set(f"user_{123 + number % 3}")
    logger.debug("processing a request", extra={"operation": "chat"})
    call: dict[str, object] = {"operation": "chat", "model": "gpt-4o-mini", "duration_ms": 550.5 * number}
    try:
        if failed := number % 4 == 0:
            raise TimeoutError("no answer in time")
        cost = round((100 * number * 0.15 + (40 + number) * 0.6) / 1e6, 9)
        call |= {"event_type": "llm_call", "prompt_tokens": 100 * number, "completion_tokens": 40 + number}
        logger.info("the language model answered", extra=call | {"cost_usd": cost})
    except TimeoutError as error:
        call |= {"event_type": "llm_error", "error": str(error)}
        logger.exception("the language model gave no answer", extra=call)
    scope = {"client": ("203.0.113.42", 443), "method": "POST", "path": "/api/chat"}
    middleware.log_request(scope, 504 if failed else 200, 0.551 * number)


if __name__ == "__main__":
    # By default a new name each time: one that is known beforehand may be somebody else's link by then.
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="aiapp_logs_"))
    chosen = {"log_dir": folder, "log_level": "DEBUG"}
    json_logs.configure_logging(settings.load_settings().model_copy(update=chosen))
    logger.warning("the disk is 85 % full", extra={"event_type": "disk"})
    logger.critical("the disk is full", extra={"event_type": "disk"})
    for number in range(1, 13):
        chat(number)
    print(f"The log is in {folder}. Search it, for example: jq 'select(.level==\"ERROR\")' {folder}/app.log")
