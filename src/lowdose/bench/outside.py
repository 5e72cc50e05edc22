"""Methods that others bring: a Python function, or a program that reads and writes files."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import ConfigError, UnsupportedContentError
from lowdose.io import read, write
from lowdose.micrograph import Micrograph

Kind = Literal["callable", "command"]
CALLABLE: Final = "callable"
COMMAND: Final = "command"
# {input} and {output}, or with the suffix of another format: {input.tif}
_PLACE = re.compile(r"\{(input|output)(\.\w+)?\}")
_SUFFIX = ".mrc"


def named_target(kind: Kind, text: str) -> tuple[str, str]:
    """Split ``NAME=TARGET``.

    Raises
    ------
    ConfigError
        If there is no name or no target.
    """
    name, _, target = (part.strip() for part in text.partition("="))
    if not name or not target:
        raise ConfigError(f"{kind} {text!r}: expected NAME={_EXPECTED[kind]}")
    return name, target


def read_plugins(path: Path) -> dict[str, tuple[Kind, str]]:
    """Read methods from a TOML file, two lines each: ``[NAME]`` and what it is.

    Parameters
    ----------
    path : Path
        Each table has one key, ``callable`` or ``command``, and a text.

    Returns
    -------
    dict of str to (Kind, str)
        Kind and target by name.

    Raises
    ------
    ConfigError
        If it cannot be read or a table is another.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise ConfigError(f"{path}: cannot be read ({err}).") from err
    found: dict[str, tuple[Kind, str]] = {}
    for name, table in tables.items():
        pairs = list(table.items()) if isinstance(table, dict) else []
        if len(pairs) != 1 or pairs[0][0] not in _EXPECTED or not isinstance(pairs[0][1], str):
            expected = " or ".join(f'{kind} = "{shape}"' for kind, shape in _EXPECTED.items())
            raise ConfigError(f"{path}: [{name}] holds {table!r}; expected one line, {expected}.")
        found[name] = pairs[0]
    return found


_EXPECTED: dict[Kind, str] = {
    CALLABLE: "package.module:function or path/to/file.py:function",
    COMMAND: "program {input} {output}",
}


def identity(kind: Kind, target: str) -> str:
    """Tell what results depend on: for a function the hash of its file, for a program its line.

    Raises
    ------
    ConfigError
        If there is no such module, or the program is not found.
    """
    if kind == COMMAND:
        _check_command(target)
        return f"command {target}"
    path = _source(target)
    content, name = path.read_bytes(), target.rpartition(":")[2]
    # The file's name, not its path: where it lies changes nothing.
    return f"{name} of {path.name}, SHA-256 {hashlib.sha256(content).hexdigest()[:16]}"


def estimator(kind: Kind, target: str) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """Make it a function from counts to counts.

    Raises
    ------
    ConfigError
        As `identity`, or if the module holds no such function.
    """
    if kind == COMMAND:
        _check_command(target)
        return lambda noisy: run_command(target, noisy)
    module, name = _import(target), target.rpartition(":")[2]
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{target}: there is no function {name!r} in it")
    return lambda noisy: np.asarray(function(noisy))


def _source(target: str) -> Path:
    """File of ``package.module:function`` or ``file.py:function``."""
    place, _, name = target.rpartition(":")
    if place.endswith(".py"):
        path = Path(place)
    else:
        try:
            found = importlib.util.find_spec(place) if place and name else None
        except (ImportError, ValueError):
            found = None
        path = Path((found and found.origin) or "")
    if not path.is_file():
        raise ConfigError(f"{target}: no such module; expected {_EXPECTED[CALLABLE]}")
    return path


def _import(target: str) -> ModuleType:
    place, path = target.rpartition(":")[0], _source(target)
    try:
        return _import_file(path) if place.endswith(".py") else importlib.import_module(place)
    except Exception as err:  # a module of others may raise anything
        raise ConfigError(f"{target}: cannot be imported ({said(err)}).") from err


def _import_file(path: Path) -> ModuleType:
    # By its place, and no name that an import statement could ask for.
    name = f"plugin {hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and typing look there for what annotations name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def said(err: Exception) -> str:
    """What an error of others said, with its kind."""
    return f"{type(err).__name__}: {err}"


def _check_command(line: str) -> None:
    places = {match[1] for match in _PLACE.finditer(line)}
    words = _words(line)
    if places != {"input", "output"}:
        raise ConfigError(f"command {line!r}: expected both {{input}} and {{output}} in it")
    if shutil.which(words[0]) is None:
        raise ConfigError(f"command {line!r}: there is no program {words[0]!r} to run")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as err:
        raise ConfigError(f"command {line!r}: cannot be split into words ({err})") from err


def run_command(line: str, noisy: NDArray[np.float32]) -> NDArray[Any]:
    """Let a program denoise a file.

    Parameters
    ----------
    line : str
        Split into words as a shell would; no shell runs it. ``{input}`` and ``{output}`` stand for
        MRC files in a temporary folder, ``{input.tif}`` and ``{output.tif}`` for TIFF files. A
        program that makes its output a folder with one file in it is understood.
    noisy : ndarray of float32, shape (H, W)
        Counts.

    Raises
    ------
    ConfigError
        If it fails; with the last line that it printed.
    InputError
        If its output is no image of that size.
    """
    with tempfile.TemporaryDirectory(prefix="lowdose-") as name:
        folder, places = Path(name), {}

        def place(match: re.Match[str]) -> str:
            places[match[1]] = folder / f"{match[1]}{match[2] or _SUFFIX}"
            return str(places[match[1]])

        words = [_PLACE.sub(place, word) for word in _words(line)]
        write(places["input"], Micrograph(noisy))
        # Without anything to read from, a program that asks a question ends instead of waiting.
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            last = said[-1] if said else "nothing"
            problem = f"ended with {done.returncode} and said: {last}"
            raise ConfigError(f"command {line!r} {problem}. Try it on a file of yours.")
        return np.array(read_single(_result(places["output"], line), noisy.shape).pixels)


def _result(output: Path, line: str) -> Path:
    files = [path for path in output.rglob("*") if path.is_file()] if output.is_dir() else [output]
    if len(files) != 1 or not files[0].is_file():
        problem = f"left {len(files) if output.is_dir() else 'no'} files at {{output}}"
        raise ConfigError(f"command {line!r} {problem}; expected one.")
    return files[0]


def read_single(path: Path, shape: tuple[int, ...] | None) -> Micrograph:
    """Read a file that holds one image, of a given shape if any.

    Raises
    ------
    InputError
        If it cannot be read, holds several images, or another size.
    """
    micrograph = read(path)
    if micrograph.frame_count > 1:
        problem = f"holds {micrograph.frame_count} frames; single images are compared."
        raise UnsupportedContentError(path, problem)
    if shape and micrograph.shape[-2:] != shape:
        problem = f"is {micrograph.shape[-2:]} px, and the noisy image {shape}."
        raise UnsupportedContentError(path, problem)
    frame = next(micrograph.frames())
    return dataclasses.replace(micrograph, pixels=frame, axes=micrograph.axes[-2:])
