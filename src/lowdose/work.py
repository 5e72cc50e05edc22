"""How much there is to do and how much is done, told to whoever waits."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]


class Work:
    """Pixels to go through, of which more may turn up on the way.

    Parameters
    ----------
    progress : callable
        Told pixels done and pixels in all, whenever some are done.

    Examples
    --------
    >>> work = Work(lambda done, total: print(done, "of", total))
    >>> work.more(100)
    >>> work.did(60)
    60 of 100
    """

    def __init__(self, progress: Progress = lambda done, total: None) -> None:
        self._progress = progress
        self._total, self._done = 0, 0.0

    def more(self, pixels: int) -> None:
        """There is so much more to do."""
        self._total += pixels

    def did(self, pixels: float) -> None:
        """So much of it is done."""
        self._done += pixels
        self._progress(round(self._done), self._total)
