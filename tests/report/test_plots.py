"""Figures: every one that is asked for, grey, and the same bits again."""

import numpy as np
import pytest
from PIL import Image

from lowdose.bench.methods import parse_method
from lowdose.bench.plan import Plan, Section, Subject
from lowdose.bench.run import Bench
from lowdose.bench.store import Store
from lowdose.data.truths import Truth
from lowdose.report.plots import draw_figures


@pytest.fixture
def bench(tmp_path):
    y, x = np.mgrid[:128, :128]
    truths = [
        Truth(np.sin(x / k) * np.cos(y / 9), -1.0, 1.0, f"{k}.npy", "waves") for k in (4, 5, 6)
    ]
    methods = [parse_method(name) for name in ("none", "gaussian", "median")]
    subjects = [Subject(truth) for truth in truths]
    sections = [
        Section("waves", subjects, ("low",), methods),
        Section("waves", subjects, (1.0, 10.0, 100.0), methods),
    ]
    with Store(tmp_path) as store:
        made = Bench(Plan("bench", sections, examples=["5.npy"]), store)
        made.run()
        yield made


def test_every_figure_is_drawn_in_grey_and_again_bit_for_bit(bench, tmp_path):
    first = draw_figures(bench, tmp_path)
    assert {picture.path.name for picture in first} == {
        "bench-0-low-density.png", "bench-0-low-position.png", "bench-0-low-fourier.png",
        "bench-0-low-example-0.png", "bench-1-doses.png",
    }  # fmt: skip
    content = [picture.path.read_bytes() for picture in first]
    for picture in first:
        with Image.open(picture.path) as image:
            assert image.mode == "L"
            assert image.getextrema()[0] < 80  # there is ink on it
        assert picture.caption
    assert [picture.path.read_bytes() for picture in draw_figures(bench, tmp_path)] == content


def test_what_is_not_to_be_drawn_is_not(bench, tmp_path):
    import dataclasses

    silent = [dataclasses.replace(s, is_drawn=False) for s in bench.plan.sections]
    bench.plan = dataclasses.replace(bench.plan, sections=silent)
    assert draw_figures(bench, tmp_path / "none") == []
