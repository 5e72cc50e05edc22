"""What a library logs becomes a warning, which `formats.read` gathers into one for the file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Relay(logging.Handler):
    """Reissues log records as warnings, but for those that start with a known harmless phrase."""

    def __init__(self, harmless: tuple[str, ...]) -> None:
        super().__init__(logging.WARNING)
        self._harmless = harmless

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if not text.startswith(self._harmless):
            warnings.warn(text[:300], stacklevel=2)


@contextmanager
def logs_as_warnings(library: str, *, harmless: tuple[str, ...] = ()) -> Iterator[None]:
    """Within the block, warn of what the logger of `library` has to say, and print nothing."""
    logger = logging.getLogger(library)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Relay(harmless)], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
