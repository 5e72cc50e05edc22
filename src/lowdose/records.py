"""Records of weights: what is known of them without loading any; no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lowdose.errors import WeightsError

# The one name a user need not know.
DEFAULT = "everyday"
# Stands for the one of `CHOICES` that errs least on an image; the other shipped weights are the
# paper's, which these beat on every test image and at every dose.
AUTO = "auto"
CHOICES = "best", DEFAULT, "fast"


@dataclass(frozen=True)
class Record:
    """What is known of a set of weights.

    Parameters
    ----------
    name : str
        By which it is found.
    network, options : str, mapping
        What to build, see `lowdose.models.catalog`.
    sha256 : str
        Of the weights file.
    summary : str
        One line for ``lowdose models``.
    training : mapping
        Steps, seed, dose law, duration, and the whole configuration.
    sources : sequence of mapping
        Repositories, commits and licences of the micrographs it was trained on.
    quality : mapping
        Figures measured with these weights, and the command that measures them.
    calibration : mapping
        Of stated uncertainties: the ``factor`` that makes intervals hold, and what it is from.
    limits : sequence of str
        What it should not be used for, in sentences.
    """

    name: str
    network: str
    options: Mapping[str, Any]
    sha256: str = ""
    summary: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and the start of the hash, for headers and logs."""
        return f"{self.name}:{self.sha256[:12]}"


def shipped() -> dict[str, Path]:
    """Names and files of the weights inside the package."""
    folder = Path(str(resources.files("lowdose") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find(name: str) -> Path:
    """Path of weights given by name, or by the path of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If there are none.
    """
    known = shipped()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    raise WeightsError(
        f"there are no weights {name!r}: they are neither shipped ({', '.join(known) or 'none'}) "
        "nor a .safetensors file. See `lowdose models`."
    )


def load_record(name: str) -> Record:
    """Read the record of some weights.

    Raises
    ------
    WeightsError
        If there is none, or it is not one.
    """
    path = find(name).with_suffix(".json")
    try:
        table = json.loads(path.read_text("utf-8"))
        lists = {name: tuple(table.get(name) or ()) for name in ("sources", "limits")}
        tables = {name: table.get(name) or {} for name in ("training", "quality", "calibration")}
        record = Record(**{**table, **lists, **tables})
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise WeightsError(f"{path}: is no record of weights ({err}).") from err
    texts = record.name, record.network, record.sha256
    if not all(isinstance(text, str) for text in texts) or not isinstance(record.options, dict):
        raise WeightsError(
            f"{path}: is no record of weights: name, network and sha256 are {texts}, options "
            f"{record.options!r}; expected three texts and a table."
        )
    return record


def parameter_count(path: Path) -> int:
    """Count the numbers in a weights file, from its header alone.

    Raises
    ------
    WeightsError
        If it is no safetensors file.
    """
    try:
        with safe_open(path, "np") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError) as err:
        raise WeightsError(f"{path}: is no weights file ({err}).") from err
    return sum(math.prod(shape) for shape in shapes)
