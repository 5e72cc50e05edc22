"""The table of file formats, and reading and writing through it."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import (
    InputError,
    LimitError,
    LowdoseError,
    LowdoseWarning,
    MalformedFileError,
    OutputError,
    UnknownFormatError,
    UnsupportedContentError,
)
from lowdose.io.format import Format
from lowdose.io.guard import Limits, check_values, whole_file
from lowdose.io.mrc import MRC
from lowdose.io.npy import NPY
from lowdose.io.png import PNG
from lowdose.io.tiff import TIFF
from lowdose.io.vendor import VENDOR
from lowdose.micrograph import Micrograph, is_usable

HEAD_BYTES = 4096
_PACKED = (".gz", ".bz2")
_FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning)

# Asked in this order: the surest magic numbers first, vendors' short ones last.
FORMATS: tuple[Format, ...] = (TIFF, PNG, NPY, MRC, *VENDOR)


def read(
    path: Path | str,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    nonfinite: Literal["refuse", "fill", "keep"] = "refuse",
) -> Micrograph:
    """Read an image or a stack, whatever its format.

    The format is found by content. Plain MRC, NPY and simple TIFF files are memory-mapped, so
    that a stack larger than memory opens at once.

    Parameters
    ----------
    path : Path or str
        The file.
    limits : Limits
        How many pixels and decoded bytes it may claim.
    nonfinite : {"refuse", "fill", "keep"}
        What to do about NaN and infinite pixels, and those beyond float32: refuse the file,
        put the median of their frame in their place (which loads the whole file if there are
        any), or not to look, which spares reading the pixels of a large file.

    Raises
    ------
    InputError
        If the file is missing, of no known format, damaged, too large or no real image.
    MissingExtraError
        If reading it needs an optional dependency.

    Warns
    -----
    LowdoseWarning
        At most once, if the file is odd but readable.
    """
    path = Path(path)
    file_format = identify(path)
    with _one_warning(path), _library_errors(path, file_format):
        _warn_of_suffix(path, file_format)
        micrograph = file_format.read(path, limits)
        if nonfinite == "keep":
            return micrograph
        return _checked(path, micrograph, fill=nonfinite == "fill")


def write(path: Path | str, micrograph: Micrograph, *, format: str | None = None) -> None:
    """Write `micrograph` whole or not at all.

    Parameters
    ----------
    path : Path or str
        The file to make or replace; never a folder or a device.
    micrograph : Micrograph
        What to write.
    format : str, optional
        Name of a format (``"mrc"``, ``"npy"``, ...); by default the suffix of `path` decides.

    Raises
    ------
    OutputError
        If the format cannot be written or cannot hold these pixels, the folder does not exist
        or is read only, or the disk is full. What was at `path` is then still there.
    """
    path = Path(path)
    check_output(path, format=format)
    write_pixels = _writer(path, format).write
    assert write_pixels is not None  # or there would be no writer
    # A link is followed: the file it points to is replaced, the link stays.
    with whole_file(Path(os.path.realpath(path)) if os.path.islink(path) else path) as temporary:
        try:
            write_pixels(temporary, micrograph)
        except OutputError as err:
            problem = str(err).removeprefix(f"{temporary}: ")
            raise OutputError(f"{path}: {problem}") from err


def check_output(
    path: Path | str,
    *,
    format: str | None = None,
    dtype: np.dtype[Any] | None = None,
    frames: int = 1,
) -> None:
    """Find out before the work whether `write` could write to `path`.

    Parameters
    ----------
    path, format
        As for `write`.
    dtype : dtype, optional
        Of the pixels that will be written, if that is known.
    frames : int
        How many images.

    Raises
    ------
    OutputError
        If no format writes such a name or it cannot hold such pixels, or there is no such folder
        or none that may be written to, or no file but something else is there.
    """
    path = Path(path)
    refusal = _writer(path, format).refusal
    if dtype is not None and refusal and (problem := refusal(dtype, frames)):
        raise OutputError(f"{path}: {problem}")
    # os.path: Path raises on folders that may not be entered, and on long names.
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"{path}: is not a file, so it is not replaced. Choose another name.")
    if not os.path.isdir(path.parent):
        raise OutputError(
            f"{path}: its folder does not exist or may not be entered. Create {path.parent} first."
        )
    folder = os.path.dirname(os.path.realpath(path))  # where a link leads
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: {folder} may not be written to. Choose another folder.")


def identify(path: Path | str) -> Format:
    """Format of a file, by its content.

    Raises
    ------
    InputError
        If `path` is no file, or cannot be opened.
    UnknownFormatError
        If it is empty or of none of `FORMATS`.
    """
    path = Path(path)
    head = _head(path)
    for file_format in FORMATS:
        if file_format.sniff(head, path):
            return file_format
    claim = by_suffix(path)
    if claim:
        problem = f"is named like {claim.name}, but its content is of no format lowdose reads."
        raise UnknownFormatError(path, f"{problem} Is it damaged?")
    names = ", ".join(file_format.name for file_format in FORMATS)
    raise UnknownFormatError(path, f"its content is of no format lowdose reads ({names}).")


def by_suffix(path: Path | str) -> Format | None:
    """Format that a file name claims, or None; the first one where several share a suffix.

    Examples
    --------
    >>> by_suffix("grid7.MRC.gz").name
    'mrc'
    """
    return next((each for each in FORMATS if _claims(Path(path), each)), None)


def micrographs_below(folder: Path) -> list[Path]:
    """Files named like a micrograph in a folder and in all below it, in order.

    What is hidden by a dot before its name or that of its folder is left out.
    """
    return sorted(
        path
        for path in folder.rglob("[!.]*")
        if by_suffix(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and os.path.isfile(path)
    )


def family_suffix(name: str, path: Path) -> str:
    """Suffix, with its dot, of the file that the denoised one of a format should go to.

    The family it came from where that can be written, and otherwise ``.mrc``: it keeps pixel
    size and history, streams any size, and every program in the field opens it. Compressed
    input comes back plain.

    Parameters
    ----------
    name : str
        Of the format.
    path : Path
        Of the file, which is not read.

    Examples
    --------
    >>> family_suffix("tiff", Path("a.TIFF")), family_suffix("dm", Path("a.dm4"))
    ('.tiff', '.mrc')
    """
    family = next((each for each in FORMATS if each.name == name and each.write), MRC)
    suffix = path.suffix.lower()
    return suffix if suffix in family.suffixes else family.suffixes[0]


def _head(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(path, "is a folder; give the files in it.")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise InputError(path, "is a device or a pipe, not a file.")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as err:
        raise InputError(path, "no such file.") from err
    except OSError as err:
        raise InputError(path, f"cannot be opened ({err.strerror}).") from err
    if not head:
        raise UnknownFormatError(path, "is empty (0 bytes). Copy it again from the source.")
    return head


def _claims(path: Path, file_format: Format) -> bool:
    return path.name.lower().endswith(file_format.suffixes)


def _warn_of_suffix(path: Path, found: Format) -> None:
    claim = by_suffix(path)
    if claim and not _claims(path, found):
        problem = f"named like {claim.name}, but its content is {found.name}; read as that."
        warnings.warn(LowdoseWarning(path, problem), stacklevel=2)


def _writer(path: Path, name: str | None) -> Format:
    if path.suffix.lower() in _PACKED:
        raise OutputError(f"{path}: lowdose writes no compressed files; leave {path.suffix} away.")
    named = next((each for each in FORMATS if each.name == name), None)
    chosen = named if name else by_suffix(path)
    if chosen is not None and chosen.write is not None:
        return chosen
    asked = f"{name} files" if name else path.suffix or "a name without suffix"
    suffixes = ", ".join(each.suffixes[0] for each in FORMATS if each.write)
    raise OutputError(f"{path}: lowdose does not write {asked}; choose one of {suffixes}.")


@contextmanager
def _library_errors(path: Path, file_format: Format) -> Iterator[None]:
    """Turn whatever a library raises about a damaged file into one of our sentences."""
    try:
        yield
    except LowdoseError:
        raise
    except MemoryError as err:
        raise LimitError(path, "needs more memory than there is. Cut it into pieces.") from err
    except OSError as err:
        if err.strerror:  # the system, not a library, speaks
            raise InputError(path, f"cannot be read ({err.strerror}).") from err
        raise _damaged(path, file_format, err) from err
    # Everything: on damaged headers libraries raise OverflowError, struct.error, KeyError,
    # SyntaxError and more, and none of them promises a list.
    except Exception as err:
        raise _damaged(path, file_format, err) from err


def _damaged(path: Path, file_format: Format, err: Exception) -> MalformedFileError:
    detail = " ".join(str(err).split())[:200] or type(err).__name__
    problem = f"cannot be decoded as {file_format.name}: {detail.rstrip('.')}."
    return MalformedFileError(path, f"{problem} Copy it again from the source.")


@contextmanager
def _one_warning(path: Path) -> Iterator[None]:
    """Gather the warnings of a block, ours and the libraries', into one that names the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    problems = {
        note.message.problem
        if isinstance(note.message, LowdoseWarning)
        else " ".join(str(note.message).split())
        for note in caught
        if not issubclass(note.category, _FOR_DEVELOPERS)
    }
    if problems:
        # The level of the caller of `read`: contextlib adds one frame, `read` another.
        problem = "; ".join(sorted(each.rstrip(".") for each in problems))
        warnings.warn(LowdoseWarning(path, f"{problem}."), stacklevel=4)


def _checked(path: Path, micrograph: Micrograph, *, fill: bool) -> Micrograph:
    """`micrograph` if all its pixels are finite, or filled."""
    try:
        check_values(path, micrograph.pixels)
    except UnsupportedContentError:
        if not fill:
            raise
        pixels = np.array(micrograph.pixels)
        for frame in pixels.reshape(-1, *pixels.shape[-2:]):
            _fill(path, frame)
        return replace(micrograph, pixels=pixels)
    return micrograph


def _fill(path: Path, frame: NDArray[Any]) -> None:
    finite = is_usable(frame)
    if not finite.any():
        raise UnsupportedContentError(path, "a frame has no finite pixel. Remove that frame.")
    frame[~finite] = np.median(frame[finite])
