"""Turn the averaged weights of a training run into weights that ship, with their record.

python tools/publish_weights.py runs/everyday everyday --manifest MANIFEST.csv --quality FILE.json
python tools/publish_weights.py runs/everyday-spread everyday     adds how far they are off
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from lowdose.checkpoint import load_record, save_weights
from lowdose.records import Record


@dataclasses.dataclass(frozen=True)
class Card:
    """What a record says beyond what its run and its manifest know."""

    summary: str
    limits: tuple[str, ...]


WHITE = (
    "Trained for noise that is independent from pixel to pixel; interpolated, binned from "
    "interpolated, or compressed images hold correlated noise, of which part stays."
)
CORRELATED = (
    "Noise that a detector blurred, or that was interpolated or binned afterwards, is measured and "
    "taken off as far as it comes from one blur; of noise that is partly white and partly blurred "
    "the white part is measured, and some of the other stays, as do the blocks of JPEG."
)
DATABAR = "A databar burnt into the image is denoised with it: crop it first."
PIXELS = (
    "Not for quantification of single pixels: the result is a conditional mean and smooth by "
    "nature."
)
OF_OURS = (
    CORRELATED,
    "The training images are mostly SEM, thin sections and bright-field TEM; "
    "atomic-resolution images and cryo-EM particles were mostly simulated.",
    "Below about 5 electrons per pixel fine detail in the result is a likely guess, not a "
    "measurement.",
    DATABAR,
    PIXELS,
)
OF_THE_PAPER = (
    "To repeat and compare the paper's method; for work, everyday is better at every dose "
    "(docs/paper.md).",
    "Sees the image between its darkest and brightest pixel: one hot pixel takes the contrast of "
    "all others. It is told neither dose nor gain and does not fade out as the dose rises.",
    WHITE,
    PIXELS,
)
CARDS = {
    "everyday": Card(
        "any micrograph at any dose; compact U-Net, trained on SEM, TEM, STEM and FIB-SEM",
        OF_OURS,
    ),
    "best": Card(
        "as everyday, at two and a half times its work and a little better at low dose: for "
        "accelerators and patience",
        (
            "Of very smooth specimens at ordinary doses it leaves more noise than everyday does "
            "(docs/training.md).",
            *OF_OURS,
        ),
    ),
    "fast": Card(
        "as everyday, at less than half of its work and a little less quality: for large folders",
        OF_OURS,
    ),
    "atrous-narrow-low": Card(
        "Ede's network at a quarter of its width, trained his way end to end for 25 + Exp(75) "
        "counts per pixel",
        OF_THE_PAPER,
    ),
    "atrous-narrow-ordinary": Card(
        "Ede's network at a quarter of its width, fine-tuned his way for 200 to 2500 counts per "
        "pixel",
        OF_THE_PAPER,
    ),
}


def sources(manifest: Path) -> list[dict[str, Any]]:
    """Count the training crops per repository, with commit and licence."""
    with open(manifest, encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    kinds = ("repo", "commit", "licence", "modality")
    counts = Counter(tuple(row[kind] for kind in kinds) for row in rows)
    return [dict(zip(kinds, key, strict=True)) | {"crops": n} for key, n in sorted(counts.items())]


def main() -> None:
    """Read the run, write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name", choices=CARDS)
    parser.add_argument("--manifest", type=Path, help="of the micrographs it was trained on")
    parser.add_argument("--device", default="2 CPU cores", help="what it ran on, in words")
    parser.add_argument("--before", default="", help="what the run started from, in a sentence")
    parser.add_argument("--quality", type=Path, help="JSON of measured figures")
    arguments = parser.parse_args()
    run: Path = arguments.run
    card = CARDS[arguments.name]
    record = load_record(str(run / "weights.safetensors"))
    training = _training(run, record) | {"device": arguments.device}
    target = Path(__file__).parents[1] / "src/lowdose/weights" / f"{arguments.name}.safetensors"
    weights = load_file(run / "weights.safetensors")
    if training["config"]["network"].get("trains") == "spread":
        record = _with_spread(target, record, training, weights)
    else:
        if arguments.manifest is None:
            parser.error("--manifest is needed for weights of their own")
        quality = json.loads(arguments.quality.read_text("utf-8")) if arguments.quality else {}
        record = dataclasses.replace(
            record,
            name=arguments.name,
            summary=card.summary,
            training=training | {"before": arguments.before},
            sources=tuple(sources(arguments.manifest)),
            quality=quality,
            limits=card.limits,
        )
    record = save_weights(target, weights, record)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {record.label}")


def _training(run: Path, record: Record) -> dict[str, Any]:
    """What a run did, from its folder."""
    config = json.loads(json.dumps(record.training["config"]))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    pace = [entry["seconds_per_step"] for entry in log if "seconds_per_step" in entry]
    # Where the crops lay on one machine is nobody else's business.
    config["data"] |= {"train": ["micrographs/train"], "validation": ["micrographs/val"]}
    config["network"].pop("start")
    return {
        "steps": record.training["step"],
        "hours": round(sum(pace) / len(pace) * record.training["step"] / 3600, 2),
        "config": config,
        "validation": [entry for entry in log if any(key.startswith("mse_") for key in entry)][-1],
    }


def _with_spread(
    target: Path, record: Record, training: dict[str, Any], weights: dict[str, Any]
) -> Record:
    """Record of shipped weights to which a run added what tells their errors, and no more."""
    old = load_file(target)
    changed = [name for name, value in old.items() if not weights[name].equal(value)]
    if any(not name.startswith("spread.") for name in changed):
        raise SystemExit(f"{target}: the run started from other weights: {', '.join(changed)}")
    was = load_record(str(target))
    return dataclasses.replace(
        was,
        options=record.options,
        training={**was.training, "spread": training},
        calibration={},  # of the spread before; see tools/trust.py
    )


if __name__ == "__main__":
    main()
