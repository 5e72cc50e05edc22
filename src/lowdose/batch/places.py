"""Which files are meant, and where their results go."""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lowdose.batch.record import record_of
from lowdose.errors import ConfigError, InputError, OutputError
from lowdose.io import by_suffix, family_suffix, identify, micrographs_below


@dataclass(frozen=True)
class Input:
    """A file, and the folder below which its place is kept in an output folder."""

    path: Path
    root: Path


@dataclass(frozen=True)
class Job:
    """A file and the name of its result.

    Parameters
    ----------
    source : Path
        The input.
    name : Path
        Of the output, without suffix unless `is_whole`.
    is_whole : bool
        Whether the user named the output, suffix included.
    """

    source: Path
    name: Path
    is_whole: bool = False

    def target(self) -> Path:
        """Path of the output; its suffix follows from the format of the input's content."""
        if self.is_whole:
            return self.name
        return _with(self.name, family_suffix(identify(self.source).name, self.source))


def deviation_path(target: Path) -> Path:
    """Where the standard deviations of a result go: a file like it, but TIFF beside PNG.

    Examples
    --------
    >>> deviation_path(Path("clean/scan.mrc")).name, deviation_path(Path("scan.png")).name
    ('scan_std.mrc', 'scan_std.tif')
    """
    name, suffix = _stem(target), target.name[len(_stem(target)) :]
    return target.with_name(f"{name}_std{'.tif' if suffix.lower() == '.png' else suffix}")


def make_folder(path: Path) -> None:
    """Make a folder and those around it.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{path}: cannot be made a folder ({err.strerror}).") from err


def find_inputs(names: Iterable[str], *, listed: Iterable[str] = ()) -> list[Input]:
    """Find the files that are meant.

    Parameters
    ----------
    names : iterable of str
        Files, folders (searched with those inside them), patterns that no shell expanded, or
        ``-`` for those in `listed`.
    listed : iterable of str
        Lines with one name each, such as standard input; names may also end in a zero byte, as
        ``find -print0`` has them.

    Returns
    -------
    list of Input
        Each file once. Results of lowdose are left out, unless there is nothing else.

    Raises
    ------
    InputError
        If a folder holds no micrograph, or nothing matches a pattern.
    ConfigError
        If nothing is named at all.
    """
    found: dict[str, Input] = {}
    for name in names:
        for each in _names(listed) if name == "-" else filter(None, (name,)):
            found |= {os.path.abspath(item.path): item for item in _expand(each)}
    if not found:
        raise ConfigError("there is no input; name files, folders or patterns")
    fresh = [item for item in found.values() if record_of(item.path) is None]
    return fresh or list(found.values())


def _names(lines: Iterable[str]) -> Iterator[str]:
    """Names in a list, whatever ends them; a name may begin and end with a space."""
    for line in lines:
        for name in line.removeprefix("\ufeff").rstrip("\r\n").split("\0"):
            if name.strip():
                yield name


def _expand(name: str) -> list[Input]:
    # os.path throughout: Path raises on folders that may not be entered, and on long names.
    path = Path(name)
    if os.path.isdir(path):
        files = micrographs_below(path)
        if not files:
            raise InputError(path, "holds no file with a suffix of a micrograph.")
        return [Input(file, path) for file in files]
    if glob.has_magic(name) and not os.path.exists(path):
        matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
        if not matches:
            raise InputError(path, "no file matches this pattern.")
        plain = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts[:-1])
        root = Path(*plain)
        return [Input(match, root) for match in matches if os.path.isfile(match)]
    return [Input(path, path.parent)]


def plan_jobs(inputs: Sequence[Input], output: str | None) -> list[Job]:
    """Name the result of each input.

    Parameters
    ----------
    inputs : sequence of Input
        See `find_inputs`.
    output : str, optional
        A file for one input, or a folder; beside the inputs by default. In a folder, results lie
        as the inputs do below the deepest folder they share.

    Raises
    ------
    ConfigError
        If several inputs are to go into one file.
    """
    if output is None:
        return _named(inputs, [i.path.parent for i in inputs], "_denoised")
    folder = Path(output)
    is_folder = os.path.isdir(folder) or output.endswith(("/", os.sep)) or not folder.suffix
    if len(inputs) == 1 and not is_folder:
        return [Job(inputs[0].path, folder, is_whole=True)]
    if by_suffix(folder) and not os.path.isdir(folder):
        raise ConfigError(f"{output}: names one file for {len(inputs)} inputs; name a folder")
    shared = os.path.commonpath([os.path.abspath(i.root) for i in inputs])
    places = [os.path.relpath(os.path.abspath(i.path.parent), shared) for i in inputs]
    return _named(inputs, [folder / place for place in places], "")


def _named(inputs: Sequence[Input], places: Sequence[Path], ending: str) -> list[Job]:
    """Jobs whose names differ: a.dm4 beside a.mrc keeps its suffix as part of the name."""
    names = [place / (_stem(i.path) + ending) for i, place in zip(inputs, places, strict=True)]
    claims = [_with(n, _likely_suffix(i.path)) for n, i in zip(names, inputs, strict=True)]
    count = Counter(claims)
    return [
        Job(i.path, name if count[claim] == 1 else name.with_name(i.path.name + ending))
        for i, name, claim in zip(inputs, names, claims, strict=True)
    ]


def _stem(path: Path) -> str:
    claim = by_suffix(path)
    ends = [s for s in claim.suffixes if path.name.lower().endswith(s)] if claim else [path.suffix]
    return path.name[: len(path.name) - len(max(ends, key=len))]


def _likely_suffix(path: Path) -> str:
    claim = by_suffix(path)
    return family_suffix(claim.name if claim else "", path)


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
