"""Scores, their means, margins and paired differences work out."""

import numpy as np
import pytest

from lowdose.bench.scores import (
    FIGURES,
    ImageScores,
    Score,
    checked_pair,
    evaluate_pair,
    margin,
    paired_difference,
    summarise,
)
from lowdose.errors import UnsupportedContentError
from lowdose.metrics.protocol import CleanScores, PaperScores

RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)
NOISY = np.random.default_rng(0).poisson(RAMP * 50.0).astype(np.float32)


def score(value):
    return Score(PaperScores(value, value), CleanScores(*5 * [value]), value)


def test_a_summary_has_means_deviations_and_the_worst_image():
    images = [ImageScores(name, 1.0, {"m": score(v)}) for name, v in (("a", 0.002), ("b", 0.004))]
    (summary,) = summarise(images)
    assert summary.figures == pytest.approx(np.array(8 * [(0.003, 0.001)]))
    assert summary.worst == (0.004, "b")
    (single,) = summarise(images[:1])
    assert np.isnan(single.psnr[1])


def test_draws_of_noise_are_averaged_image_by_image():
    draws = [("a", 0.001), ("b", 0.004), ("a", 0.003), ("b", 0.006)]
    images = [ImageScores(name, 1.0, {"m": score(v)}) for name, v in draws]
    (summary,) = summarise(images, seeds=2)
    assert summary.figures == pytest.approx(np.array(8 * [(0.0035, 0.0015)]))
    assert summary.worst == (0.006, "b")


def test_the_papers_mean_and_deviation_are_of_capped_scores():
    images = [ImageScores(str(v), 1.0, {"m": score(v)}) for v in (0.002, 7.0)]
    (summary,) = summarise(images)
    assert summary.paper_mse == pytest.approx((0.007, 0.005))
    assert summary.mse == pytest.approx((3.501, 3.499))


def test_a_pair_is_scored_by_both_protocols():
    found = evaluate_pair(RAMP * 50.0, NOISY, NOISY)
    assert found.ratio == 1
    assert found.paper.mse == pytest.approx(found.clean.mse / NOISY.max() ** 2, rel=0.05)
    assert evaluate_pair(RAMP * 50.0, NOISY, RAMP * 50.0).ratio == 0


def test_clipping_is_for_those_who_ask():
    estimate = 2.0 * NOISY - 10
    clipped, free = (
        evaluate_pair(RAMP * 50, NOISY, estimate, clip=clip).paper.mse for clip in (True, False)
    )
    inside = np.clip(estimate, NOISY.min(), NOISY.max())
    assert clipped == evaluate_pair(RAMP * 50, NOISY, inside, clip=False).paper.mse < free


def test_figures_come_back_as_the_same_score():
    found = evaluate_pair(RAMP * 50.0, NOISY, NOISY)
    assert len(found.figures) == len(FIGURES)
    assert Score.from_figures(found.figures) == found


def test_what_cannot_be_scored_is_named():
    with pytest.raises(UnsupportedContentError, match=r"a\.png: method 'm' cannot be scored"):
        checked_pair("a.png", "m", (RAMP, NOISY, NOISY[1:]))
    with pytest.raises(UnsupportedContentError, match="NaN"):
        checked_pair("a.png", "m", (RAMP, NOISY, np.full_like(NOISY, np.nan)))


def test_an_interval_holds_the_true_difference_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(80):
        images = rng.normal(size=40)  # what images differ by cancels
        found = paired_difference(images + rng.normal(0.5, 1, size=40), images)
        hits += found.low < 0.5 < found.high
    assert 0.85 < hits / 80 < 0.99


def test_margins_are_per_cent_of_the_best_other():
    assert margin(0.5, [1.0, 2.0], is_error=True) == 50
    assert margin(0.9, [0.6, 0.75], is_error=False) == pytest.approx(20)
    assert np.isnan(margin(0.9, [], is_error=True))
