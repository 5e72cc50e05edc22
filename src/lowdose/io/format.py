"""The record that describes one file format to the rest of `lowdose.io`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowdose.io.guard import Limits
from lowdose.micrograph import Micrograph


@dataclass(frozen=True, slots=True)
class Format:
    """One file format: how to know it, read it and write it.

    Parameters
    ----------
    name : str
        Short name, also ``Micrograph.source.format``.
    description : str
        One line for a user.
    suffixes : tuple of str
        Lower case, with the dot, double ones (``.mrc.gz``) included; the first is what a new
        file gets.
    sniff : callable
        Whether the first 4096 bytes of a file are of this format. The path breaks ties for
        formats without a magic number; it is never opened.
    read : callable
        The whole reader but for the check for NaN. It raises `InputError` for what it can
        name; `formats.read` wraps the rest, and gathers warnings into one `LowdoseWarning`.
    write : callable or None
        Writes to exactly the path it is given, a temporary one. Raises `OutputError` for
        content the format cannot hold, without a path: `formats.write` puts the user's in
        front. A full disk is an OSError. None: read only.
    refusal : callable, optional
        Given the type of pixels and the number of frames, why the format cannot hold them, or
        nothing: what is known before the work that leads to them.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes, Path], bool]
    read: Callable[[Path, Limits], Micrograph]
    write: Callable[[Path, Micrograph], None] | None = None
    refusal: Callable[[np.dtype[Any], int], str] | None = None
