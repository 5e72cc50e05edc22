"""A training run as one frozen record, read from TOML and checked once."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lowdose.data.pairs import Augmentation, DoseLaw
from lowdose.errors import ConfigError


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained, see ``lowdose models``, and the weights it starts from.

    `start` names shipped weights or a ``.safetensors`` file, relative to the configuration;
    empty means random ones. With `trains` "spread" all else is kept, and a U-Net with the option
    `spread` learns how far its own predictions are off.
    """

    name: str = "unet"
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    trains: Literal["all", "spread"] = "all"

    def __post_init__(self) -> None:
        if self.trains == "spread" and not self.options.get("spread"):
            raise ConfigError(
                "[network] trains the spread of a network without one; expected its channels, "
                "such as 16, as the option spread"
            )


@dataclass(frozen=True)
class DataConfig:
    """Where the truths are, and how many crops of which size make a step.

    Paths are relative to the configuration file. `train` names folders of micrographs, read into
    memory, or one data set of `lowdose dataset build`, streamed from disk; `validation` likewise,
    a data set giving at most 256 crops of its split "val". `simulated` truths of each kind of
    `lowdose.data.simulate` are drawn beside those read. `batch` counts the crops of all processes
    together. Validation takes the middle `validation_patch` pixels of each image.
    """

    train: tuple[str, ...] = ()
    simulated: int = 0
    validation: tuple[str, ...] = ()
    patch: int = 160
    batch: int = 8
    validation_patch: int = 256
    validation_doses: tuple[float, ...] = (50.0, 500.0, 50000.0)

    def __post_init__(self) -> None:
        if not self.train and not self.simulated:
            raise ConfigError("[data] train names no folder of micrographs, and simulated is 0")
        doses = self.validation_doses
        _check(
            "[data]",
            simulated=(self.simulated, self.simulated >= 0, "0 or more"),
            patch=(self.patch, self.patch >= 16, "at least 16"),
            batch=(self.batch, self.batch >= 1, "at least 1"),
            validation_patch=(self.validation_patch, self.validation_patch >= 16, "at least 16"),
            validation_doses=(doses, all(0 < dose < math.inf for dose in doses), "above 0 each"),
        )


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam with warm-up, clipped gradients and averaged weights.

    "adamw" takes `weight_decay` off the weights themselves, "adam" adds that many times half
    their square to the loss, as the paper does. The rate falls along half a cosine, or, with
    `drops`, by a factor of four at each of these fractions of the run. A run is over after
    `steps`, or, where `minutes` are above 0, after these, start-up not counted: for a machine
    that is there for a time only, whatever its pace, at the price that no two runs are the same.
    """

    kind: Literal["adamw", "adam"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.99)  # 0.999 let one odd crop throw a run off for long
    steps: int = 60_000
    minutes: float = 0.0
    learning_rate: float = 1e-3
    warmup: int = 500
    drops: tuple[float, ...] = ()
    weight_decay: float = 1e-3
    gradient_norm: float = 1.0
    average: float = 0.9995

    def __post_init__(self) -> None:
        _check(
            "[optimiser]",
            betas=(self.betas, all(0 <= beta < 1 for beta in self.betas), "within [0, 1)"),
            steps=(self.steps, self.steps >= 1, "at least 1"),
            minutes=(self.minutes, 0 <= self.minutes < math.inf, "0 or more"),
            drops=(self.drops, all(0 < drop < 1 for drop in self.drops), "within (0, 1)"),
            learning_rate=(self.learning_rate, 0 < self.learning_rate < 1, "within (0, 1)"),
            warmup=(self.warmup, self.warmup >= 0, "0 or more"),
            weight_decay=(self.weight_decay, 0 <= self.weight_decay < 1, "within [0, 1)"),
            gradient_norm=(self.gradient_norm, self.gradient_norm > 0, "above 0"),
            average=(self.average, 0 <= self.average < 1, "within [0, 1)"),
        )


@dataclass(frozen=True)
class RunConfig:
    """How the run goes about it; `loaders` are the threads that draw crops ahead."""

    precision: Literal["bf16", "float32"] = "bf16"
    validate_every: int = 1000
    log_every: int = 50
    checkpoint_minutes: float = 3.0
    loaders: int = 1
    compiled: bool = False

    def __post_init__(self) -> None:
        _check(
            "[run]",
            validate_every=(self.validate_every, self.validate_every >= 1, "at least 1"),
            log_every=(self.log_every, self.log_every >= 1, "at least 1"),
            loaders=(self.loaders, 1 <= self.loaders <= 64, "1 to 64"),
            checkpoint_minutes=(self.checkpoint_minutes, self.checkpoint_minutes >= 0, "0 or more"),
        )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run does.

    Examples
    --------
    >>> parse_config({"data": {"train": ["crops"], "batch": 4}}).data.batch
    4
    >>> parse_config({"data": {"train": ["crops"], "bacth": 4}})
    Traceback (most recent call last):
    lowdose.errors.ConfigError: [data] has no setting 'bacth'; it has: train, simulated, \
validation, patch, batch, validation_patch, validation_doses
    """

    data: DataConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    dose: DoseLaw = field(default_factory=DoseLaw)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=RunConfig)
    seed: int = 1

    def __post_init__(self) -> None:
        _check("the top level:", seed=(self.seed, self.seed >= 0, "0 or more"))

    def as_json(self) -> str:
        """Every setting, defaults included, in one line."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def load_config(path: Path) -> TrainConfig:
    """Read a configuration; folders in it become relative to where it lies.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no TOML, or has a setting that makes no sense.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read ({err}).") from err
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{path}: is no TOML file ({err}).") from err
    try:
        config = parse_config(table)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from err
    train, validation = (
        tuple(str((path.parent / folder).resolve()) for folder in folders)
        for folders in (config.data.train, config.data.validation)
    )
    data = dataclasses.replace(config.data, train=train, validation=validation)
    network = config.network
    if network.start.endswith(".safetensors"):
        start = str((path.parent / network.start).resolve())
        network = dataclasses.replace(network, start=start)
    return dataclasses.replace(config, data=data, network=network)


def parse_config(table: Mapping[str, Any]) -> TrainConfig:
    """Build the record from a nested mapping; unknown and ill-typed settings are refused."""
    return typing.cast(TrainConfig, _build(TrainConfig, table, "the top level"))


def _check(section: str, **settings: tuple[object, bool, str]) -> None:
    """Refuse the first setting, given as value, whether it holds, and what is expected."""
    for name, (value, holds, expected) in settings.items():
        if not holds:
            raise ConfigError(f"{section} {name} is {value}; expected {expected}")


def _build(cls: type, table: Any, where: str) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} is {table!r}; expected a table of settings")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in table:
        if name not in fields:
            raise ConfigError(f"{where} has no setting {name!r}; it has: {', '.join(fields)}")
    for name, f in fields.items():
        required = f.default is f.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise ConfigError(f"{where} lacks [{name}]")
    return cls(**{name: _convert(hints[name], value, name, where) for name, value in table.items()})


def _convert(hint: Any, value: Any, name: str, where: str) -> Any:
    """Check one value against its annotation; lists become tuples, whole numbers floats."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, f"[{name}]")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        inner = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(inner) == len(value):
            return tuple(_convert(h, v, name, where) for h, v in zip(inner, value, strict=True))
    elif origin is Literal and value in args:
        return value
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and isinstance(value, hint):
        if hint is bool or type(value) is not bool:
            return value
    elif origin is Mapping and isinstance(value, Mapping):
        return dict(value)
    expected = hint if isinstance(hint, types.GenericAlias) or origin else hint.__name__
    raise ConfigError(f"{where}: {name} is {value!r}; expected {expected}")
