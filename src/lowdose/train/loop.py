"""The training loop: kill it at any moment, start it again, and it ends with the same weights."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lowdose.backends import float32_kept
from lowdose.checkpoint import load_weights, save_weights
from lowdose.data.pairs import Batch, PairSource, TruthSource
from lowdose.data.shards import ShardSet, is_data_set, load_description
from lowdose.data.truths import TruthSet, draw_truths, load_truths
from lowdose.errors import ConfigError
from lowdose.io.guard import whole_file
from lowdose.models.catalog import CATALOG, build
from lowdose.records import Record
from lowdose.train.config import OptimiserConfig, TrainConfig, parse_config
from lowdose.train.loss import LOSSES, loss_of_spread
from lowdose.train.schedule import rate_factor
from lowdose.train.validate import ValidationSet

STATE = "state.safetensors"  # of a run, in its folder
SPREAD = "spread."  # names of the variables that tell errors start so
# The others wait so long for the first process, which alone validates and writes checkpoints.
PATIENCE = timedelta(hours=2)

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Process:
    """One of the processes that train together."""

    rank: int
    world: int
    device: torch.device

    def share(self, batch: int) -> range:
        """Return the samples of a global batch that fall to this process."""
        return range(self.rank, batch, self.world)


class Trainer:
    """One run in one folder.

    The folder holds ``state.safetensors`` (weights, averages, optimizer, step), ``log.jsonl``
    and, from the first validation on, ``weights.safetensors`` with its record: the averaged
    weights, ready for ``lowdose denoise --model``.

    Parameters
    ----------
    config : TrainConfig
        The whole run.
    folder : Path
        Made if absent; a state in it is resumed.
    process : Process
        Rank and device.

    Raises
    ------
    ConfigError
        If the folder holds the state of another configuration, the batch does not divide, or the
        network takes no crops of that side.
    """

    def __init__(self, config: TrainConfig, folder: Path, process: Process) -> None:
        if config.data.batch % process.world:
            raise ConfigError(
                f"[data] batch is {config.data.batch} for {process.world} processes; "
                "expected a multiple"
            )
        if config.network.trains == "spread" and process.world > 1:
            raise ConfigError(
                f"[network] trains spread in {process.world} processes; it is so little work that "
                "one does it all"
            )
        if config.optimiser.minutes and process.world > 1:
            raise ConfigError(
                f"[optimiser] minutes is {config.optimiser.minutes:g} for {process.world} "
                "processes, whose clocks differ; expected 0, and steps"
            )
        self.config, self.folder, self.process = config, folder, process
        torch.manual_seed(config.seed)
        # What a run started from may be gone when it goes on.
        self.network = _fresh_network(config, is_resumed=(folder / STATE).exists())
        _check_sides(config, self.network)
        self.network.to(process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, weight in self.network.named_parameters():
            weight.requires_grad_(config.network.trains == "all" or name.startswith(SPREAD))
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.predicts = CATALOG[config.network.name].predicts
        self.dtype = torch.bfloat16 if config.run.precision == "bf16" else torch.float32
        self.optimiser = _optimiser(config.optimiser, self.network)
        self.step, self.seconds, self._begun = 0, 0.0, time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, report: Report, *, until: int | None = None) -> None:
        """Train to the end of the run, or until a step.

        Parameters
        ----------
        report : callable
            Told ``{"step", "loss", "seconds_per_step", ...}`` now and then; validation adds
            its figures.
        until : int, optional
            Stop (with a checkpoint) before this step.
        """
        config = self.config
        source = PairSource(
            _truths(config),
            patch=config.data.patch,
            batch=config.data.batch,
            dose=config.dose,
            augmentation=config.augmentation,
            seed=config.seed,
            device=self.process.device,
        )
        validation = (
            ValidationSet(config.data, predicts=self.predicts, dtype=self.dtype)
            if self.process.rank == 0
            else None
        )
        loss_of = self._loss()
        minutes, steps = config.optimiser.minutes, config.optimiser.steps
        last = min(sys.maxsize if minutes else steps, sys.maxsize if until is None else until)
        if minutes and self.seconds >= 60 * minutes:
            return
        self._begun = saved = logged = time.monotonic()
        losses = []
        for batch in self._batches(source, last):
            losses.append(self._train_step(loss_of, batch))
            is_late = minutes > 0 and self._spent() >= 60 * minutes
            at_end = self.step == last or is_late
            if self.step % config.run.log_every == 0 or at_end:
                now = time.monotonic()
                self._log(
                    report,
                    loss=torch.stack(losses).mean().item(),
                    seconds_per_step=(now - logged) / len(losses),
                    steps=min(last, self._steps()),
                )
                logged, losses = now, []
            if validation and (self.step % config.run.validate_every == 0 or at_end):
                figures = validation.score(self.averaged_network())
                if figures:
                    self._log(report, **figures)
                self._export()
                logged = time.monotonic()
            if at_end or time.monotonic() - saved > 60 * config.run.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
            if at_end:
                break
        self.seconds = self._spent()

    def averaged_network(self) -> nn.Module:
        """Return a copy of the network with the averaged weights."""
        network = build(self.config.network.name, self.config.network.options)
        network.load_state_dict(self.average)
        network.to(self.process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def _loss(self) -> Callable[[Batch], Tensor]:
        """Mean loss of a batch: compiled if asked, in step with other processes."""
        network: nn.Module = self.network
        if self.process.world > 1:
            network = DistributedDataParallel(network)
        is_spread = self.config.network.trains == "spread"
        loss = loss_of_spread if is_spread else LOSSES[self.predicts]

        def mean(batch: Batch) -> Tensor:
            return loss(network, batch).mean()

        if self.process.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every batch has the same shape
        is_compiled = self.config.run.compiled
        return cast(Callable[[Batch], Tensor], torch.compile(mean)) if is_compiled else mean

    def _spent(self) -> float:
        """Seconds trained so far, those before it was resumed included."""
        return self.seconds + time.monotonic() - self._begun

    def _steps(self) -> int:
        """Steps of the whole run; where it has so many minutes, as the pace so far has it."""
        config = self.config.optimiser
        if not config.minutes:
            return config.steps
        return max(self.step + 1, round(self.step * 60 * config.minutes / self._spent()))

    def _batches(self, source: PairSource, last: int) -> Iterator[Batch]:
        """Draw batches in threads of their own while the network is busy with those before."""
        samples = self.process.share(self.config.data.batch)
        loaders = self.config.run.loaders
        with ThreadPoolExecutor(loaders) as pool:
            steps = iter(range(self.step, last))
            ahead = deque(
                pool.submit(source.batch, step, samples)
                for step in itertools.islice(steps, loaders)
            )
            while ahead:
                batch = ahead.popleft().result()
                ahead += (
                    pool.submit(source.batch, step, samples) for step in itertools.islice(steps, 1)
                )
                yield batch

    def _train_step(self, loss_of: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        config = self.config.optimiser
        factor = rate_factor(
            self.step, steps=self._steps(), warmup=config.warmup, drops=config.drops
        )
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * factor
        with torch.autocast(
            self.process.device.type, self.dtype, enabled=self.dtype != torch.float32
        ):
            loss = loss_of(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_norm)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return loss.detach()

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young averages forget faster, so that the random start is soon gone.
        decay = min(self.config.optimiser.average, (1 + self.step) / (10 + self.step))
        state = self.network.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in floats], [state[name] for name in floats], 1 - decay
        )
        for name in state.keys() - set(floats):
            self.average[name].copy_(state[name])

    def _log(self, report: Report, **figures: Any) -> None:
        if self.process.rank == 0:
            entry = {"step": self.step, **figures}
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            report(entry)

    def _export(self) -> None:
        record = Record(
            name=self.folder.name,
            network=self.config.network.name,
            options=self.config.network.options,
            training={"step": self.step, "config": json.loads(self.config.as_json())},
        )
        save_weights(self.folder / "weights.safetensors", self.average, record)

    @property
    def _state_path(self) -> Path:
        return self.folder / STATE

    def _save(self) -> None:
        if self.process.rank != 0:
            return
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        names = [name for name, _ in self.network.named_parameters()]
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{names[index]}/{k}": v for k, v in moments.items()}
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        seconds = f"{self._spent():.3f}"
        facts = {"step": str(self.step), "seconds": seconds, "config": self.config.as_json()}
        with whole_file(self._state_path) as part:
            save_file(tensors, part, metadata=facts)

    def _resume(self) -> None:
        if self._state_path.exists():
            try:
                self._restore()
            except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as err:
                raise ConfigError(f"{self._state_path}: cannot be resumed ({err}).") from err
        self._forget_log_after(self.step)

    def _restore(self) -> None:
        with safe_open(self._state_path, "pt", device=str(self.process.device)) as file:
            facts = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if _lasting(parse_config(json.loads(facts["config"]))) != _lasting(self.config):
            raise ConfigError(
                f"{self.folder} holds a run of another configuration; only steps, minutes and "
                "drops of [optimiser] and [run] may change on the way. Name another folder, or "
                "remove this."
            )
        self.network.load_state_dict(_under("network/", tensors))
        for key, value in _under("average/", tensors).items():
            self.average[key].copy_(value)
        self._restore_optimiser(_under("optimiser/", tensors))
        self.step, self.seconds = int(facts["step"]), float(facts.get("seconds", "0"))

    def _restore_optimiser(self, tensors: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for index, (name, weight) in enumerate(self.network.named_parameters()):
            moments = _under(f"{name}/", tensors)
            # In the memory order of the weights: the fused step takes that for granted.
            state[index] = {
                key: torch.empty_like(weight).copy_(value) if value.ndim else value
                for key, value in moments.items()
            }
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})

    def _forget_log_after(self, step: int) -> None:
        path = self.folder / "log.jsonl"
        if path.exists() and self.process.rank == 0:
            lines = path.read_text("utf-8").splitlines()
            kept = [line for line in lines if _logged_step(line) <= step]
            with whole_file(path) as part:
                part.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def train(
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    report: Report = lambda entry: None,
    until: int | None = None,
) -> None:
    """Train a network, alone or as one of the processes that ``torchrun`` started.

    Parameters
    ----------
    config : TrainConfig
        The whole run.
    folder : Path
        For checkpoints, log and weights; a run in it goes on where it stopped.
    device : str
        ``"cpu"``, ``"cuda"`` (each process takes its own) or ``"mps"``.
    report : callable
        Told how it goes.
    until : int, optional
        Stop before this step.

    Raises
    ------
    ConfigError
        If configuration, data or folder do not fit together.
    """
    with _process(device) as process, float32_kept():
        Trainer(config, folder, process).run(report, until=until)


@contextmanager
def _process(device: str) -> Iterator[Process]:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process(0, 1, torch.device(device))
        return
    local = int(os.environ["LOCAL_RANK"])
    place = torch.device(device, local) if device == "cuda" else torch.device(device)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Process(dist.get_rank(), world, place)
    finally:
        dist.destroy_process_group()


def _truths(config: TrainConfig) -> TruthSource:
    """Return a data set that is streamed, or micrographs held in memory and simulated ones."""
    data = config.data
    if not any(map(is_data_set, data.train)):
        truths = load_truths(data.train, least_side=data.patch)
        side = max(512, data.patch)
        return TruthSet(truths + draw_truths(data.simulated, seed=config.seed, side=side))
    if len(data.train) > 1 or data.simulated:
        raise ConfigError(
            f"[data] train is {', '.join(data.train)} and simulated {data.simulated}; a data set "
            "is streamed alone. Build one set from all folders, and set simulated = 0"
        )
    return ShardSet(data.train[0], "train", seed=config.seed)


def _fresh_network(config: TrainConfig, *, is_resumed: bool) -> nn.Module:
    """Build the network of a run as it is before the first step."""
    wanted = config.network
    network = build(wanted.name, wanted.options)
    if not wanted.start or is_resumed:
        return network
    given, record = load_weights(wanted.start)
    try:
        network.load_state_dict(_widened(given.state_dict(), network.state_dict()))
    except RuntimeError as err:
        raise ConfigError(
            f"[network] start: {wanted.start} holds {record.network} {dict(record.options)}, whose "
            f"variables are not those of {wanted.name} {dict(wanted.options)}"
        ) from err
    return network


def _widened(given: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that ignore inputs which the network they are from had not, nor its spread."""
    widened = {name: value for name, value in wanted.items() if name.startswith(SPREAD)} | given
    for name in given.keys() & wanted.keys():
        here, there = given[name], wanted[name]
        if (
            here.ndim == 4
            and here.shape[1] < there.shape[1]
            and here[:, 0].shape == there[:, 0].shape
        ):
            widened[name] = torch.zeros_like(there)
            widened[name][:, : here.shape[1]] = here
    return widened


def _optimiser(config: OptimiserConfig, network: nn.Module) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    # Fused: hundreds of small weights would otherwise take longer to step than to differentiate.
    return kind(
        network.parameters(), betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def _check_sides(config: TrainConfig, network: nn.Module) -> None:
    stride, data = cast(int, network.stride), config.data
    for name, places in (("patch", data.train), ("validation_patch", data.validation)):
        side = getattr(data, name)
        if side % stride or side < 2 * stride:  # of one value there is no variance to normalise by
            raise ConfigError(
                f"[data] {name} is {side}; network {config.network.name!r} takes sides that are "
                f"multiples of {stride}, from {2 * stride} on"
            )
        for place in filter(is_data_set, places):
            crop = load_description(place).crop
            if crop < side:
                raise ConfigError(
                    f"{place}: holds crops of {crop} px; [data] {name} is {side}. Build it with "
                    f"--crop {side}, or choose a smaller {name}"
                )


def _lasting(config: TrainConfig) -> dict[str, Any]:
    """Return the part of a configuration that must stay the same while a run is resumed."""
    table = dataclasses.asdict(config)
    table.pop("run")
    # A run may be made longer, its rate be stepped down by hand.
    for name in ("steps", "minutes", "drops"):
        table["optimiser"].pop(name)
    return table


def _logged_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:  # cut short by a kill
        return math.inf


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
