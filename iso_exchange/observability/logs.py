"""structlog, one JSON object per line on standard error."""

from __future__ import annotations

import logging
import sys

import structlog


class _ToStructlog(logging.Handler):
    """Carries what libraries log: as JSON lines too, with a traceback for errors only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger(record.name).log(
            record.levelno,
            record.getMessage(),
            reason="" if error is None else f"{type(error).__name__}: {error}",
            exc_info=error if record.levelno >= logging.ERROR else None,
        )


def configure(level: str = "INFO") -> None:
    """Set logging up once, at the composition root.

    Args:
        level: Standard level name; libraries are heard from WARNING on.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without locals: they hold keys, salts and sealed orders, and grow with the state.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)
