"""A run: nothing twice, nothing lost, the same bits whoever computed them."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from lowdose.bench.evaluate import evaluate_truths
from lowdose.bench.methods import Spec, build, parse_method
from lowdose.bench.plan import Plan
from lowdose.bench.run import Bench
from lowdose.bench.store import Store
from lowdose.bench.tables import write_tables
from lowdose.errors import ConfigError, UnsupportedContentError


def tables(folder, bench):
    write_tables(bench, folder)
    return {
        path.name: path.read_bytes() for path in folder.glob("*.csv") if "timing" not in path.name
    }


def test_the_second_run_computes_nothing(plan, tmp_path, callable_file):
    mine = Spec("mine", f"{callable_file}:halved", "callable")
    for expected in (8, 0):
        with Store(tmp_path / "run") as store:
            assert Bench(plan(mine), store).run() == expected
    assert callable_file.with_suffix(".calls").read_text() == 4 * "x"


def test_another_method_dose_or_seed_costs_its_own_time_only(plan, tmp_path):
    for made, expected in (
        (plan("median"), 8),
        (plan("median", "wiener"), 4),
        (plan("median", "wiener", laws=("low", 50.0)), 12),
        (plan("median", seeds=(0, 1)), 8),
        (plan("again=median"), 0),
    ):
        with Store(tmp_path) as store:
            assert Bench(made, store).run() == expected


def test_a_run_that_was_killed_ends_with_the_same_bits(plan, tmp_path):
    made = plan("median", "wavelet", laws=("low", 50.0), examples=["tem__2.png"])
    with Store(tmp_path / "whole") as store:
        bench = Bench(made, store)
        bench.run()
        whole = tables(tmp_path / "whole", bench)
        means = [each.results["median"].arrays for each in bench.scored(made.sections[0], "low")]
    lines = (tmp_path / "whole" / "results.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    # Half a line at the end, and lines in another order, as workers leave them.
    (tmp_path / "cut" / "results.jsonl").write_bytes(b"".join(lines[9:3:-1]) + lines[0][:99])
    with Store(tmp_path / "cut") as store:
        bench = Bench(made, store)
        assert 0 < bench.run() < len(lines)
        assert tables(tmp_path / "cut", bench) == whole
        again = [each.results["median"].arrays for each in bench.scored(made.sections[0], "low")]
    for first, second in zip(means, again, strict=True):
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit(plan, tmp_path, tiny_weights):
    made = plan("median", "nl-means", str(tiny_weights()), laws=("low", "ordinary"))
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        with Store(folder) as store:
            bench = Bench(made, store, device="cpu")
            bench.run(workers=workers)
            found.append(tables(folder, bench))
    assert found[0] == found[1]


def test_a_bench_scores_what_evaluate_scores(plan, truths, tmp_path):
    with Store(tmp_path) as store:
        bench = Bench(plan("median"), store)
        bench.run()
        found = [each.scores for each in bench.scored(bench.plan.sections[0], "low")]
    assert found == list(evaluate_truths(truths, [build(parse_method("median"))], dose="low"))


def test_a_method_may_run_at_one_law_alone(plan, tmp_path):
    made = plan("net@low=median", "net@50=wiener", laws=("low", 50.0))
    with Store(tmp_path) as store:
        bench = Bench(made, store)
        bench.run()
        section = made.sections[0]
        for law, name in (("low", "median"), (50.0, "wiener")):
            results = bench.scored(section, law)[0].results
            assert list(results) == ["none", "net"]
            assert results["net"].key.method.startswith(name)


def test_sections_share_what_they_have_in_common(plan, tmp_path):
    first, second = plan("median").sections[0], plan("median", "wiener").sections[0]
    with Store(tmp_path) as store:
        assert Bench(Plan("bench", [first, second]), store).run() == 12


def test_an_estimate_of_an_example_is_kept(plan, tmp_path):
    made = plan("median", examples=["tem__2.png"])
    with Store(tmp_path) as store:
        bench = Bench(made, store)
        bench.run()
        exposure, estimates = bench.example(made.sections[0], "low", "tem__2.png")
        assert np.array_equal(estimates["none"], exposure.noisy)
        np.testing.assert_allclose(
            estimates["median"], build(parse_method("median")).run(exposure.noisy), rtol=1e-6
        )
        assert len(list((tmp_path / "examples").iterdir())) == 2


@pytest.mark.parametrize("drawn", [(False, True), (True, False)])
def test_an_estimate_is_kept_if_any_section_draws_it(drawn, plan, tmp_path):
    made = plan("median", count=1, examples=["sem__0.png"])
    sections = [replace(made.sections[0], is_drawn=is_drawn) for is_drawn in drawn]
    with Store(tmp_path) as store:
        bench = Bench(replace(made, sections=sections), store)
        assert bench.run() == 2
        _, estimates = bench.example(made.sections[0], "low", "sem__0.png")
        assert list(estimates) == ["none", "median"]
        assert not bench.missing()


def test_what_is_finished_stays_when_a_method_fails(plan, tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("def run(noisy):\n    return noisy if noisy.max() < 200 else noisy[1:]\n")
    made = plan(Spec("mine", f"{path}:run", "callable"), laws=(50.0, 500.0))
    with Store(tmp_path / "run") as store:
        with pytest.raises(UnsupportedContentError, match=r"sem__0\.png: method 'mine'"):
            Bench(made, store).run()
        assert len(Bench(made, store).missing()) == 4


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_in_a_plugin_names_it_and_the_image(workers, plan, tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("def run(noisy):\n    return noisy if noisy.max() < 200 else {}['weights']\n")
    made = plan(Spec("mine", f"{path}:run", "callable"), laws=(50.0, 500.0))
    with Store(tmp_path / "run") as store:
        bench = Bench(made, store)
        with pytest.raises(
            ConfigError, match=r"method 'mine' failed on \w+\.png: KeyError"
        ) as told:
            bench.run(workers=workers)
        assert told.value.__cause__ is not None
        assert len(bench.missing()) in ([4] if workers == 1 else range(4, 8))


@pytest.mark.skipif(os.name != "posix", reason="a file is a program by its suffix here")
def test_a_program_that_cannot_start_is_named_with_the_image(plan, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\0no program")
    program.chmod(0o755)
    made = plan(Spec("mine", f"{program} {{input}} {{output}}", "command"), count=1)
    problem = r"'mine' failed on sem__0\.png: .*format error"
    with Store(tmp_path / "run") as store, pytest.raises(ConfigError, match=problem):
        Bench(made, store).run()


def test_an_error_survives_the_way_from_a_worker():
    error = UnsupportedContentError("a.png", "is empty.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path) == (type(error), str(error), error.path)


def test_arrays_are_those_of_the_metrics(plan, tmp_path):
    with Store(tmp_path) as store:
        bench = Bench(plan("median", count=1), store)
        bench.run()
        results = bench.scored(bench.plan.sections[0], "low")[0].results
    assert set(results["median"].arrays) == {"blocks", "corner", "rim", "radial"}
    assert set(results["none"].arrays) == {*results["median"].arrays, "radial_truth"}
    assert results["median"].arrays["radial"].sum() == pytest.approx(1, rel=1e-5)


def test_threads_are_given_back(plan, tmp_path):
    torch.set_num_threads(2)
    try:
        with Store(tmp_path) as store:
            Bench(plan("median", count=1), store).run()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
