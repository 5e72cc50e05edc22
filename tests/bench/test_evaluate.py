"""Scores over truths: same seeds, same noise; the sums work out."""

import numpy as np
import pytest

from lowdose.bench.evaluate import (
    ImageScores,
    Score,
    benchmark_dose,
    evaluate_pair,
    evaluate_truths,
    parse_law,
    select,
    summarise,
)
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError
from lowdose.metrics.protocol import CleanScores, PaperScores

RAMP = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
TRUTHS = [Truth(RAMP, 0.0, 1.0, f"{name}.png", "ramps") for name in "abc"]


def identity(noisy):
    return noisy


def expected(noisy):
    return RAMP * 50.0


def test_the_noisy_image_has_ratio_one_and_the_truth_none():
    (first, *_) = evaluate_truths(TRUTHS, {"same": identity, "truth": expected}, dose=50.0)
    assert first.scores["none"].ratio == first.scores["same"].ratio == 1
    assert first.scores["truth"].ratio == pytest.approx(0, abs=1e-12)
    assert first.scores["none"].clean.mse == pytest.approx(25, rel=0.15)  # mean of the counts
    assert first.dose == pytest.approx(50)


def test_a_method_sees_counts_alone():
    seen = []

    def look(noisy):
        seen.append(noisy)
        return noisy

    list(evaluate_truths(TRUTHS[:1], {"look": look}, dose="low"))
    (noisy,) = seen
    assert noisy.dtype == np.float32
    assert np.array_equal(noisy, np.round(noisy))


def test_a_subset_is_scored_on_the_same_pixels():
    whole = list(evaluate_truths(TRUTHS, {}, dose="ordinary", seed=3))
    (last,) = evaluate_truths(TRUTHS[2:], {}, dose="ordinary", seed=3)
    assert last == whole[2]
    (other,) = evaluate_truths(TRUTHS[2:], {}, dose="ordinary", seed=4)
    assert other != last


def test_doses_follow_their_laws():
    rng = np.random.default_rng(0)
    low = [benchmark_dose("low", rng) for _ in range(4000)]
    ordinary = [benchmark_dose("ordinary", rng) for _ in range(4000)]
    assert min(low) >= 25
    assert np.mean(low) == pytest.approx(100, rel=0.05)
    assert 200 <= min(ordinary) < max(ordinary) <= 2500
    assert np.mean(ordinary) == pytest.approx(1350, rel=0.05)
    assert benchmark_dose(70.0, rng) == 70


def test_a_law_is_a_word_or_a_number():
    assert (parse_law("low"), parse_law("80")) == ("low", 80.0)
    for text in ("high", "0", "-3", "nan", "inf"):
        with pytest.raises(ConfigError, match="expected low, ordinary or a number"):
            parse_law(text)


def score(value):
    return Score(PaperScores(value, value), CleanScores(value, value, value), value)


def test_a_summary_has_means_deviations_and_the_worst_image():
    images = [ImageScores(name, 1.0, {"m": score(v)}) for name, v in (("a", 0.002), ("b", 0.004))]
    (summary,) = summarise(images)
    assert summary.psnr == pytest.approx((0.003, 0.001))
    assert summary.paper_mse == pytest.approx((0.003, 0.001))
    assert summary.worst == (0.004, "b")
    (single,) = summarise(images[:1])
    assert np.isnan(single.psnr[1])


def test_a_pair_is_scored_by_both_protocols():
    noisy = np.random.default_rng(0).poisson(RAMP * 50.0).astype(np.float32)
    found = evaluate_pair(RAMP * 50.0, noisy, noisy)
    assert found.ratio == 1
    assert found.paper.mse == pytest.approx(found.clean.mse / noisy.max() ** 2, rel=0.05)


def test_truths_are_selected_by_name(tmp_path):
    names = tmp_path / "names.txt"
    names.write_bytes(b"b.png\r\n\r\n")
    assert [truth.name for truth in select(TRUTHS, names)] == ["b.png"]
    names.write_text("z.png\n")
    with pytest.raises(ConfigError, match=r"z\.png"):
        select(TRUTHS, names)
    with pytest.raises(ConfigError, match="cannot be read"):
        select(TRUTHS, tmp_path / "none.txt")
