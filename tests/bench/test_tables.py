"""Tables: their figures are those of the scores, and what they compare is fair."""

import csv
import json
import re

import numpy as np
import pytest

from lowdose.bench.run import Bench
from lowdose.bench.scores import paired_difference
from lowdose.bench.store import Store
from lowdose.bench.tables import reference, sentences, write_page, write_tables


@pytest.fixture
def bench(plan, tmp_path):
    splits = {"modality sem": frozenset({"sem__0.png", "sem__1.png"})}
    with Store(tmp_path) as store:
        made = Bench(plan("median", "gaussian", splits=splits), store)
        made.run()
        yield made


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_summary_is_the_mean_of_the_scores(bench, tmp_path):
    write_tables(bench, tmp_path)
    scores = rows(tmp_path / "bench-scores.csv")
    for split, names in (("all", ""), ("modality sem", "sem")):
        own = [r for r in scores if r["method"] == "median" and r["image"].startswith(names)]
        (found,) = (
            r
            for r in rows(tmp_path / "bench-summary.csv")
            if (r["split"], r["method"]) == (split, "median")
        )
        assert int(found["count"]) == len(own)
        for figure in ("psnr_db", "bias", "error_ratio"):
            values = [float(row[figure]) for row in own]
            assert float(found[f"{figure}_mean"]) == pytest.approx(np.mean(values))
            assert float(found[f"{figure}_std"]) == pytest.approx(np.std(values))
        assert float(found["worst_ratio"]) == max(float(row["error_ratio"]) for row in own)


def test_a_margin_is_against_the_best_of_all_others(bench, tmp_path):
    write_tables(bench, tmp_path)
    table = {r["method"]: r for r in rows(tmp_path / "bench-summary.csv") if r["split"] == "all"}
    own, other = (float(table[name]["paper_mse_mean"]) for name in ("gaussian", "median"))
    expected = 100 * (1 - own / min(other, float(table["none"]["paper_mse_mean"])))
    assert float(table["gaussian"]["margin_paper_mse"]) == pytest.approx(expected)


def test_paired_differences_are_those_of_the_images(bench, tmp_path):
    write_tables(bench, tmp_path)
    scores = rows(tmp_path / "bench-scores.csv")
    pair = rows(tmp_path / "bench-paired.csv")[0]
    psnr = {
        name: np.array([float(row["psnr_db"]) for row in scores if row["method"] == name])
        for name in (pair["method"], pair["against"])
    }
    gains = psnr[pair["method"]] - psnr[pair["against"]]
    assert float(pair["psnr_db_mean"]) == pytest.approx(gains.mean())
    assert gains.min() <= float(pair["psnr_db_low"]) <= gains.mean()
    assert gains.mean() <= float(pair["psnr_db_high"]) <= gains.max()


def test_draws_of_noise_on_one_image_are_no_further_images(plan, tmp_path):
    splits = {"alone": {"sem__0.png"}, "modality sem": {"sem__0.png", "sem__1.png"}}
    with Store(tmp_path) as store:
        bench = Bench(plan("median", "gaussian", splits=splits, seeds=(0, 1, 2)), store)
        bench.run()
        write_tables(bench, tmp_path)
        write_page(bench, tmp_path, {})
    scores, page = rows(tmp_path / "bench-scores.csv"), (tmp_path / "bench.md").read_text("utf-8")
    psnr = {
        name: np.array([float(row["psnr_db"]) for row in scores if row["method"] == name])
        .reshape(3, 4)
        .mean(axis=0)
        for name in ("none", "median", "gaussian")
    }
    counts = {r["split"]: r["count"] for r in rows(tmp_path / "bench-summary.csv")}
    assert counts == {"all": "4", "modality sem": "2"}
    found = rows(tmp_path / "bench-summary.csv")[1]
    assert float(found["psnr_db_std"]) == pytest.approx(psnr["median"].std())
    pair = rows(tmp_path / "bench-paired.csv")[0]
    gains = paired_difference(psnr[pair["method"]], psnr[pair["against"]])
    assert (pair["count"], pair["better_on"]) == ("4", "4")
    assert float(pair["psnr_db_low"]) == pytest.approx(gains.low)
    assert float(pair["psnr_db_high"]) == pytest.approx(gains.high)
    for part in ("each image's mean over seeds 0, 1, 2", "modality sem (2)", "4 of 4"):
        assert part in page


def test_the_reference_is_the_first_network_or_else_the_best(bench, plan, tiny_weights):
    section = bench.plan.sections[0]
    summaries = _summaries(bench)
    best = min(summaries, key=lambda s: s.paper_mse[0]).method
    assert reference(section.methods, summaries) == best
    with_network = plan("median", str(tiny_weights())).sections[0]
    assert reference(with_network.methods, summaries) == "tiny"


def _summaries(bench):
    from lowdose.bench.scores import summarise

    return summarise([each.scores for each in bench.scored(bench.plan.sections[0], "low")])


def test_a_page_has_every_method_and_split(bench, tmp_path):
    write_page(bench, tmp_path, {"a.png": "What it shows."})
    page = (tmp_path / "bench.md").read_text("utf-8")
    for part in ("| median | ", "modality sem (2)", "![What it shows.](a.png)", "4 of 4", "opencv"):
        assert part in page
    assert json.loads((tmp_path / "bench.json").read_text()) == sentences(bench)
    (text,) = sentences(bench).values()
    assert "median: paper MSE " in text


def test_fixed_doses_are_one_table(plan, tmp_path):
    with Store(tmp_path) as store:
        bench = Bench(plan("median", laws=(10.0, 100.0, 1000.0)), store)
        bench.run()
        write_page(bench, tmp_path, {})
        ((words, ratios),) = sentences(bench).items()
    page = (tmp_path / "bench.md").read_text("utf-8")
    assert page.count("| counts | method |") == 1
    assert page.count("| median |") == 3
    assert words == "largest ratio of error to that of the input, 4 images"
    assert re.fullmatch(r"median: [\d.]+ at 10 counts, [\d.]+ at 100 .*, [\d.]+ at 1000 .*", ratios)


def test_a_dose_without_methods_has_no_margins(plan, tmp_path):
    with Store(tmp_path) as store:
        bench = Bench(plan("net@50=median", laws=("low", 50.0)), store)
        bench.run()
        write_tables(bench, tmp_path)
        write_page(bench, tmp_path, {})
    (alone,) = (r for r in rows(tmp_path / "bench-summary.csv") if r["dose_law"] == "low")
    assert (alone["margin_paper_mse"], alone["margin_paper_ssim"]) == ("nan", "nan")


def test_one_image_has_no_deviation_and_no_pairs(plan, tmp_path):
    with Store(tmp_path) as store:
        bench = Bench(plan("median", count=1), store)
        bench.run()
        write_tables(bench, tmp_path)
        write_page(bench, tmp_path, {})
    assert "image by image" not in (tmp_path / "bench.md").read_text("utf-8")
