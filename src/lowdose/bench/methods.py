"""Methods by name: the noisy image itself, classical filters, networks, and what others bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lowdose import __version__
from lowdose.bench import filters, outside
from lowdose.bench.doses import Law, parse_law
from lowdose.errors import ConfigError, MissingExtraError
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.records import load_record, shipped
from lowdose.trust import score as trust

if TYPE_CHECKING:
    from lowdose.infer import Denoiser

# From recorded to estimated counts; sees nothing else.
Estimator = Callable[[NDArray[np.float32]], NDArray[Any]]
Kind = Literal["built-in"] | outside.Kind

NONE, BM3D, GAIN_KNOWN = "none", "bm3d", "gain-known"
TUNED, ANSCOMBE = "tuned", "anscombe"
PAPER = (NONE, *filters.FILTERS)
"""The paper's methods but for its network."""


@dataclass(frozen=True)
class Spec:
    """A method as it was asked for; small enough to travel to another process.

    Parameters
    ----------
    label : str
        Its name in tables.
    target : str
        A built-in name or weights, ``module:function``, or a command line.
    kind : {"built-in", "callable", "command"}
        What `target` is.
    law : str or float, optional
        Run at this dose law alone.
    """

    label: str
    target: str
    kind: Kind = "built-in"
    law: Law | None = None

    @property
    def is_classical(self) -> bool:
        """Whether it is a filter or the noisy image itself, neither a network nor an outsider."""
        return self.kind == "built-in" and self._name in (*PAPER, BM3D)

    @property
    def is_network(self) -> bool:
        """Whether it is weights, by name or path."""
        return self.kind == "built-in" and not self.is_classical

    @property
    def is_blind(self) -> bool:
        """Whether it is a network that is not told that pixels are counts."""
        return self.is_network and not _weights(self.target)[2]

    @property
    def _name(self) -> str:
        return self.target.split(":")[0]

    def runs_at(self, law: Law) -> bool:
        """Whether it takes part at a dose law."""
        return self.law is None or self.law == law


@dataclass(frozen=True)
class Method:
    """A method ready to run.

    Parameters
    ----------
    label : str
        Its name in tables.
    run : callable
        From counts to counts.
    is_clipped : bool
        Whether the paper's protocol clips its result: a network's, or what stands in its place.
    """

    label: str
    run: Estimator
    is_clipped: bool = True


def parse_method(text: str) -> Spec:
    """Read ``[LABEL[@LAW]=]METHOD``.

    Parameters
    ----------
    text : str
        METHOD is ``none``, a filter's name with ``:tuned``, ``:anscombe`` or both behind it,
        ``bm3d``, or weights by name or path, perhaps with ``:gain-known`` behind them.

    Raises
    ------
    ConfigError
        If a modifier is unknown or the law is none.

    Examples
    --------
    >>> parse_method("network@low=everyday")
    Spec(label='network', target='everyday', kind='built-in', law='low')
    """
    label, law, target = _split_label(text)
    name, _, modifiers = target.partition(":")
    if name in (*PAPER, BM3D):
        allowed = {ANSCOMBE, TUNED} if name in filters.FILTERS else set()
        unknown = set(modifiers.split(":")) - {""} - allowed
        if unknown:
            raise ConfigError(
                f"method {text!r}: {name} has no variant {', '.join(sorted(unknown))}; expected "
                f"{', '.join(sorted(allowed)) or 'none'}. See lowdose bench --list-methods."
            )
    return Spec(label or _label_of_weights(target), target, law=law)


def _split_label(text: str) -> tuple[str, Law | None, str]:
    """Label, law and the rest; a file whose name holds a ``=`` has no label."""
    before, equals, target = text.partition("=")
    if not equals or Path(text.removesuffix(f":{GAIN_KNOWN}")).is_file():
        return "", None, text
    label, at, law = before.partition("@")
    if not label or not target:
        raise ConfigError(f"method {text!r}: expected LABEL=METHOD or LABEL@LAW=METHOD")
    return label, parse_law(law) if at else None, target


def _label_of_weights(target: str) -> str:
    path, colon, modifier = _weights(target)
    return Path(path).stem + colon + modifier if path.endswith(".safetensors") else target


def _weights(target: str) -> tuple[str, str, str]:
    """Weights, and the modifier behind them with its colon."""
    name = target.removesuffix(f":{GAIN_KNOWN}")
    return (name, "", "") if name == target else (name, ":", GAIN_KNOWN)


def identity(spec: Spec, *, device: str = "auto") -> str:
    """Tell all that the results of a method depend on, without loading it.

    Parameters
    ----------
    spec : Spec
        Which.
    device : str
        Of networks; see `lowdose.infer.Denoiser`.

    Returns
    -------
    str
        One line: versions of libraries, the SHA-256 of weights or source files.

    Raises
    ------
    LowdoseError
        If there is no such method, weights, module or program.
    """
    if spec.kind != "built-in":
        return outside.identity(spec.kind, spec.target)
    name = spec.target.split(":")[0]
    if name == NONE:
        return NONE
    if name == BM3D:
        return f"bm3d behind the Anscombe transform, gain known, {_versions(('bm3d',))}"
    if name in filters.FILTERS:
        return f"{spec.target}, {_versions(filters.FILTERS[name].packages)}"
    return _network_identity(spec.target, device)


def _versions(packages: Sequence[str]) -> str:
    try:
        return ", ".join(f"{package} {version(package)}" for package in packages)
    except PackageNotFoundError as err:
        extra = "bm3d (free for non-commercial use only)" if err.name == BM3D else "lowdose[bench]"
        raise MissingExtraError(f"{err.name} is not installed. pip install {extra}") from err


def _network_identity(target: str, device: str) -> str:
    name, _, modifier = _weights(target)
    if name not in shipped() and not name.endswith(".safetensors"):
        raise ConfigError(
            f"there is no method {target!r}: it is neither built in, nor shipped weights "
            f"({', '.join(shipped()) or 'none'}), nor a .safetensors file. "
            "See lowdose bench --list-methods."
        )
    record = load_record(name)
    from lowdose.backends import pick_backend
    from lowdose.infer import pick_device, pick_precision
    from lowdose.models.catalog import CATALOG

    where = pick_device(device)
    kind = CATALOG.get(record.network)  # None: refused when it is built
    backend = pick_backend("auto", where, kind.predicts) if kind else ""
    other = "" if backend == "torch" else backend
    parts = (record.label, record.sha256, modifier, f"lowdose {__version__}", where.type, other)
    return ", ".join(filter(None, (*parts, str(pick_precision("auto", where)))))


@lru_cache
def build(spec: Spec, *, device: str = "auto") -> Method:
    """Make a method ready to run.

    Raises
    ------
    LowdoseError
        As `identity`, or if weights do not load.
    """
    if spec.kind != "built-in":
        return Method(spec.label, outside.estimator(spec.kind, spec.target))
    name, *modifiers = spec.target.split(":")
    if name == NONE:
        return Method(spec.label, lambda noisy: noisy, is_clipped=False)
    if name == BM3D:
        return Method(spec.label, filters.behind_anscombe(filters.bm3d), is_clipped=False)
    if name in filters.FILTERS:
        return Method(spec.label, _classical(name, modifiers), is_clipped=False)
    return Method(spec.label, _network(spec.target, device))


def _classical(name: str, modifiers: list[str]) -> Estimator:
    chosen = filters.FILTERS[name]
    run = filters.on_unit_range(filters.tuned(chosen) if TUNED in modifiers else chosen.run)
    return filters.behind_anscombe(run) if ANSCOMBE in modifiers else run


@lru_cache
def _denoiser(name: str, device: str) -> Denoiser:
    from lowdose.infer import Denoiser

    return Denoiser(name, device=device)


def _network(target: str, device: str) -> Estimator:
    name, _, modifier = _weights(target)
    denoiser = _denoiser(name, device)
    noise = NoiseModel(1.0) if modifier else None
    return lambda noisy: denoiser(Micrograph(noisy), noise=noise).micrograph.pixels


def told(spec: Spec, *, device: str = "auto") -> trust.Estimator:
    """Make a method that is told what is known of the noise, as far as it listens.

    Filters take electrons for what they are; a network is told of readout noise and correlation.

    Raises
    ------
    LowdoseError
        As `identity`, or if weights do not load.
    """
    if spec.is_network:
        (method,) = trust.networks([_denoiser(_weights(spec.target)[0], device)]).values()
        return method
    run = build(spec, device=device).run
    return lambda electrons, _: run(electrons)


def available(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some methods whose libraries are installed."""
    has_filters = all(map(find_spec, ("cv2", "scipy", "skimage", "pywt")))
    return tuple(name for name in names if has_filters or not parse_method(name).is_classical)


def default_rivals() -> tuple[str, ...]:
    """Methods that are compared where none are named: shipped weights, and filters if installed."""
    # Not those by total variation: all of their result hangs on the image's extremes, so that what
    # they make of nearly all electrons is no measure of what they make of all.
    filters_ = "gaussian", "median", "wiener", "bilateral", "wavelet:anscombe"
    return available((*shipped(), *filters_))


def has_bm3d() -> bool:
    """Whether BM3D is installed."""
    return find_spec(BM3D) is not None


def catalogue() -> Mapping[str, str]:
    """Every built-in method and what it is, in a line."""
    lines = {NONE: "The noisy image itself; always there."}
    lines |= {name: _first_line(each.run) for name, each in filters.FILTERS.items()}
    lines["NAME:tuned"] = "One of these filters, its parameters chosen on each image without truth."
    lines["NAME:anscombe"] = (
        "Behind the Anscombe transform (gain 1 known); also NAME:anscombe:tuned."
    )
    lines[BM3D] = "BM3D behind the Anscombe transform, where you installed it (non-commercial)."
    networks = {name: load_record(name).summary for name in shipped()}
    lines |= networks
    lines["WEIGHTS:gain-known"] = "A network that is told that pixels are counts."
    lines["PATH.safetensors"] = "Weights of your own."
    return lines


def _first_line(function: Any) -> str:
    return str(function.__doc__).splitlines()[0]
