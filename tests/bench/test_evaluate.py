"""The simple front: truths exposed, methods scored, subsets on the same pixels."""

import numpy as np
import pytest

from lowdose.bench.doses import expose
from lowdose.bench.evaluate import evaluate_truths, select
from lowdose.bench.methods import Method
from lowdose.errors import ConfigError


def test_the_noisy_image_has_ratio_one_and_the_truth_none(truths):
    expected = expose(truths[0], 50.0, seed=0).truth
    methods = [Method("same", lambda noisy: noisy), Method("truth", lambda noisy: expected)]
    (first,) = evaluate_truths(truths[:1], methods, dose=50.0)
    assert first.scores["none"].ratio == first.scores["same"].ratio == 1
    assert first.scores["truth"].ratio == 0
    assert first.dose == pytest.approx(50)


def test_a_method_that_writes_into_its_input_changes_nothing_else(truths):
    def spoil(noisy):
        noisy *= 0
        return noisy + 1.5 * np.arange(noisy.size).reshape(noisy.shape)

    scores = [
        next(iter(evaluate_truths(truths[:1], methods, dose="low"))).scores["none"]
        for methods in ([], [Method("spoil", spoil)])
    ]
    assert scores[0] == scores[1]


def test_a_subset_is_scored_on_the_same_pixels(truths):
    whole = list(evaluate_truths(truths, [], dose="ordinary", seed=3))
    (third,) = evaluate_truths(truths[2:3], [], dose="ordinary", seed=3)
    assert third == whole[2]


def test_truths_are_selected_by_name(tmp_path, truths):
    names = tmp_path / "names.txt"
    names.write_bytes(b"sem__1.png\r\n\r\n")
    assert [truth.name for truth in select(truths, names)] == ["sem__1.png"]
    names.write_text("sem__1.png\n", encoding="utf-8-sig")  # as some editors write it
    assert [truth.name for truth in select(truths, names)] == ["sem__1.png"]
    names.write_text("z.png\n")
    with pytest.raises(ConfigError, match=r"z\.png"):
        select(truths, names)
    with pytest.raises(ConfigError, match="cannot be read"):
        select(truths, tmp_path / "none.txt")
