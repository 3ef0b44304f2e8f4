"""Logs: one line an event on stderr, for a person or as JSON; nothing personal in them."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

Format = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

PRIVATE = frozenset({"holder", "holder_id", "person", "phone", "mobile", "id_number", "password", "secret", "token"})
"""Names whose values never reach a log, whoever passes them."""

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(format: Format = "console", level: Level = "info") -> None:
    """Sets up logging for the whole process; libraries speak from warnings on.

    A line goes to what stderr is when it is written.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    exceptions = [structlog.processors.format_exc_info] if format == "json" else []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_private_values,
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `component=name`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return bound


def without_private_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides the values of PRIVATE names and writes bytes (keys, hashes) as hex."""
    for name, value in event.items():
        if name in PRIVATE:
            event[name] = "***"
        elif isinstance(value, bytes):
            event[name] = value.hex()
    return event
