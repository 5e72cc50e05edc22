"""A progress bar for work that takes longer than two seconds, on terminals only."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE_S = 2.0


class Bar:
    """A bar on standard error; use it as a context and call it as work is done.

    Parameters
    ----------
    is_quiet : bool
        Never to appear.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_shown = sys.stderr.isatty() and not is_quiet
        self._start = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Leave the terminal to a line of output; the next call shows the bar again."""
        if self._bar:
            self._bar.stop()
        self._bar = None

    def __call__(self, label: object, done: float, total: float) -> None:
        """Show `done` of `total` under a label."""
        if not self._is_shown or time.monotonic() - self._start < _PATIENCE_S:
            return
        self._bar = self._bar or _new_bar()
        self._bar.update(self._bar.task_ids[0], description=str(label), completed=done, total=total)


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # or results would end up on standard error
    )
    bar.add_task("", total=None)
    bar.start()
    return bar
