"""What is counted and told; that one thing is faster than another is not for a test."""

import csv
import io

import pytest
import torch
from torch import nn

from lowdose.bench import speed
from lowdose.bench.methods import parse_method
from lowdose.bench.speed import Command, Pass, Speeds, Timing


def test_operations_are_two_to_each_weight_and_place():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),  # 36 weights on 8 x 6 places
        nn.Conv2d(4, 8, 2, stride=2, bias=False),  # 128 on 4 x 3
        nn.ConvTranspose2d(8, 2, 2, stride=2, bias=False),  # 64 on 4 x 3
    )
    assert speed.operations(network, torch.zeros(1, 1, 8, 6)) == 2 * (36 * 48 + 128 * 12 + 64 * 12)


def test_the_share_of_the_machine_is_operations_over_time_over_its_rate():
    assert Pass("a", "float32", gflop=12.0, seconds=0.1, rate=240.0).share == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("seconds", "expected"), [((1.0, 4.0, 16.0), 1.0), ((1.0, 4.0, 24.0), 1.5)]
)
def test_time_that_grows_like_the_pixels_has_growth_one(seconds, expected):
    timings = [Timing("a", side, (s, 2 * s)) for side, s in zip((10, 20, 40), seconds, strict=True)]
    assert speed.growth(timings) == pytest.approx(expected)


def test_the_page_has_every_method_as_a_ratio_to_the_first():
    timings = [Timing("ours", 512, (0.04, 0.05)), Timing("theirs", 512, (6.0, 8.0))]
    passes = [Pass("ours", "bfloat16", 12.0, 0.04, 400.0)]
    page = speed.as_page(
        Speeds(timings, passes, [Command("lowdose denoise", 2.5, 300.0)], "2 CPU cores"),
        command="lowdose bench speed -o docs", picture="speed.png",
    )  # fmt: skip
    assert "| 512 x 512 | theirs | 6 s | 7 s | 150 |" in page
    assert "| ours | bfloat16 | 12.00 | 40 ms | 300 | 75 % |" in page
    assert "| `lowdose denoise` | 2.5 s | 300 MB |" in page
    assert "400 GFLOP/s in bfloat16" in page


def test_every_round_is_in_the_table_of_every_method(monkeypatch):
    monkeypatch.setattr(speed, "_MATRIX", 64)
    monkeypatch.setattr(speed, "_commands", lambda models, sides: [])
    labels = []
    monkeypatch.setattr(speed, "missing_packages", lambda: ["openvino"])
    speeds = speed.measure(
        ["everyday"], [parse_method("gaussian")], [64, 96], rounds=2,
        progress=lambda label, done, total: labels.append((label, done, total)),
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(speed.as_csv(speeds))))
    found = {(row["method"], row["side_px"], row["round"]) for row in rows}
    methods = "everyday", "everyday, float32", "gaussian"
    assert found == {(m, s, r) for m in methods for s in ("64", "96") for r in ("0", "1")}
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert labels[0] == ("everyday, 64 x 64", 0, 18)
    assert labels[-1][1:] == (18, 18)
    assert {one.precision for one in speeds.passes} >= {"float32"}


def test_others_are_not_asked_about_large_images(monkeypatch):
    monkeypatch.setattr(speed, "_MATRIX", 64)
    monkeypatch.setattr(speed, "_MOST_OF_OTHERS", 64)
    monkeypatch.setattr(speed, "_commands", lambda models, sides: [])
    speeds = speed.measure(["everyday"], [parse_method("gaussian")], [64, 96], rounds=1)
    assert {t.side for t in speeds.timings if t.method == "gaussian"} == {64}
