"""Refuse to write to a wrong place, before the work is done."""

from __future__ import annotations

import os
from pathlib import Path

from lowdose.errors import ConfigError, OutputError


def check_new_file(
    path: Path, suffix: str, *, beside: tuple[Path, ...] = (), is_replaced: bool
) -> None:
    """Check where a command is to write.

    Parameters
    ----------
    path : Path
        What the user named.
    suffix : str
        With which it must end.
    beside : tuple of Path
        What is written along with it.
    is_replaced : bool
        Whether existing files may go.

    Raises
    ------
    ConfigError
        If the name ends otherwise.
    OutputError
        If there is no such folder, or a file that may not go.
    """
    if path.suffix != suffix:
        raise ConfigError(f"{path}: this is written to a file that ends in {suffix}")
    if not os.path.isdir(path.parent):
        raise OutputError(f"{path}: its folder does not exist. Create {path.parent} first.")
    for place in (path, *beside):
        if os.path.exists(place) and not (is_replaced and os.path.isfile(place)):
            raise OutputError(f"{place}: exists. Pass --overwrite to replace it, or name another.")


def made_folder(path: Path) -> Path:
    """Make a folder if there is none.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    from lowdose.batch.places import make_folder

    make_folder(path)
    return path
