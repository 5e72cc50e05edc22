from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lowdose.bench.methods import Spec, parse_method
from lowdose.bench.plan import Plan, Section, Subject
from lowdose.data.truths import Truth

SIDE = 64


def wave(seed: int) -> np.ndarray:
    """A smooth image from 0 to 255."""
    y, x = np.mgrid[:SIDE, :SIDE] + 7.0 * seed
    image = np.sin(x / 5) * np.cos(y / 8) + 0.5 * np.sin((x + y) / 3)
    return np.round(255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


@pytest.fixture
def truths() -> list[Truth]:
    """Four images of two groups."""
    return [
        Truth(wave(seed), 0.0, 255.0, f"{group}__{seed}.png", group)
        for seed, group in enumerate(("sem", "sem", "tem", "tem"))
    ]


@pytest.fixture
def plan(truths) -> Callable[..., Plan]:
    """Makes a plan of one section."""

    def make(*methods: str | Spec, laws=("low",), count=4, **options) -> Plan:
        specs = [parse_method(each) if isinstance(each, str) else each for each in methods]
        subjects = [Subject(truth) for truth in truths[:count]]
        section = Section(f"{count} images", subjects, laws, [parse_method("none"), *specs])
        return Plan("bench", [section], **options)

    return make


@pytest.fixture
def callable_file(tmp_path: Path) -> Path:
    """A plug-in that counts its calls in a file beside it."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import pathlib\n"
        "def halved(noisy):\n"
        "    with open(pathlib.Path(__file__).with_suffix('.calls'), 'a') as file:\n"
        "        file.write('x')\n"
        "    noisy *= 0.5\n"
        "    return noisy\n"
    )
    return path
