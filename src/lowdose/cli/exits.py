"""How a command ends: exit codes, one line for an error, one for a warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from lowdose.cli.lines import one_line
from lowdose.errors import (
    InputError,
    LowdoseError,
    LowdoseWarning,
    MissingExtraError,
    OutputError,
)

SOME_FAILED = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

EXIT_CODES = """\b
Exit codes:
  0  all done
  2  an option, configuration, model or noise setting makes no sense
  3  an input cannot be read, or none of several
  4  some of several inputs failed, the others are done
  5  an output cannot be written
  130  interrupted
Where every input failed, and not all for one reason, 3 goes before 5, and 5 before 2.
"""


def exit_code(error: LowdoseError) -> int:
    """Code of a command that this error ends."""
    if isinstance(error, InputError | MissingExtraError):
        return 3
    return 5 if isinstance(error, OutputError) else 2


def common_exit_code(errors: Iterable[LowdoseError]) -> int:
    """Code of a command that all these errors end, whatever their order.

    Examples
    --------
    >>> common_exit_code([OutputError(), MissingExtraError(), OutputError()])
    3
    """
    codes = {exit_code(error) for error in errors}
    return next(code for code in (3, 5, 2) if code in codes)


def leave(errors: Sequence[LowdoseError], total: int) -> None:
    """End a command over so many inputs with the code that fits, if any of them failed."""
    if errors:
        is_all = len(errors) == total
        raise typer.Exit(common_exit_code(errors) if is_all else SOME_FAILED)


def complain(error: LowdoseError, path: Path | None = None) -> None:
    """Print an error in one line, with the file it is about."""
    text = str(error)
    place = "" if path is None or str(path) in text else f"{path}: "
    typer.echo(one_line(f"lowdose: {place}{text}"), err=True)


def note(text: str) -> None:
    """Print something to know, in one line that does not mix with results."""
    typer.echo(one_line(f"note: {text}"), err=True)


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end in a sentence and an exit code instead of a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always", LowdoseWarning)
            warnings.showwarning = functools.partial(_show, warnings.showwarning)
            try:
                command(*args, **options)
            except LowdoseError as err:
                complain(err)
                raise typer.Exit(exit_code(err)) from None
            except BrokenPipeError:
                raise  # typer ends quietly: nobody reads on
            except OSError as err:  # standard output on a full disk, a folder that is a file
                place = err.filename or "output"
                complain(OutputError(f"{place}: {err.strerror or err}"))
                raise typer.Exit(exit_code(OutputError())) from None
            except KeyboardInterrupt:
                typer.echo("lowdose: interrupted; what is finished stays", err=True)
                raise typer.Exit(INTERRUPTED) from None

    return run


def _show(other: Callable[..., None], message: Warning | str, *rest: Any, **options: Any) -> None:
    if isinstance(message, LowdoseWarning):
        note(str(message))
    else:
        other(message, *rest, **options)
