from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowdose.train.config import TrainConfig, parse_config
from tests.conftest import TINY


@pytest.fixture
def tiny_run(tmp_path: Path) -> Callable[..., TrainConfig]:
    """Configurations of six steps on three small images."""
    folder = tmp_path / "truths"
    folder.mkdir()
    for index in range(3):
        y, x = np.mgrid[:40, :44]
        image = (500 + 400 * np.sin((index + 1) * y / 9) * np.cos(x / (6 + index))).astype("u2")
        np.save(folder / f"truth__{index}.npy", image)
    table: dict[str, dict[str, Any]] = {
        "network": {"options": TINY},
        "data": {
            "train": [str(folder)], "validation": [str(folder)], "patch": 16, "batch": 4,
            "validation_patch": 32, "validation_doses": [50, 5000],
        },
        "optimiser": {"steps": 6, "warmup": 2, "average": 0.9, "learning_rate": 0.01},
        "run": {"precision": "float32", "validate_every": 4, "log_every": 2},
    }  # fmt: skip

    def configure(**changes: dict[str, Any]) -> TrainConfig:
        return parse_config(
            {name: settings | changes.get(name, {}) for name, settings in table.items()}
        )

    return configure
