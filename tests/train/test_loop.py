import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lowdose.checkpoint import load_weights
from lowdose.data.sets.build import build_dataset
from lowdose.data.sets.choices import Choices
from lowdose.errors import ConfigError
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.train.loop import Process, Trainer, _under, train
from tests.data.fields import write_fields

CPU = Process(0, 1, torch.device("cpu"))


def state(folder):
    return load_file(folder / "state.safetensors")


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def losses(folder):
    """Loss per logged step; each step is logged once."""
    pairs = [(entry["step"], entry["loss"]) for entry in log(folder) if "loss" in entry]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("stops", [(3,), (1, 2, 5)])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(stops, tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "straight")
    for stop in stops:
        train(tiny_run(), tmp_path / "halting", until=stop)
    train(tiny_run(), tmp_path / "halting")
    assert same(state(tmp_path / "straight"), state(tmp_path / "halting"))
    straight, halting = (
        (tmp_path / name / "weights.safetensors").read_bytes() for name in ("straight", "halting")
    )
    assert straight == halting


def test_a_run_that_is_done_stays_as_it_is(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    train(tiny_run(), tmp_path / "run")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("until", [0, 1, 2])
def test_a_run_goes_no_further_than_asked(until, tiny_run, tmp_path):
    trainer = Trainer(tiny_run(), tmp_path / "run", CPU)
    trainer.run(lambda entry: None, until=until)
    assert trainer.step == until
    trainer.run(lambda entry: None, until=max(until - 1, 0))
    assert trainer.step == until


def test_training_changes_every_weight_and_its_average(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run", until=1)
    before = state(tmp_path / "run")
    train(tiny_run(), tmp_path / "run")
    after = state(tmp_path / "run")
    assert {key.split("/")[0] for key in after} == {"network", "average", "optimiser"}
    assert all(not torch.equal(before[key], after[key]) for key in after)


def test_the_loss_of_a_longer_run_falls(tiny_run, tmp_path):
    config = tiny_run(
        optimiser={"steps": 150, "warmup": 5},
        data={"batch": 8, "validation": []},
        dose={"low_share": 1.0},
        run={"log_every": 10, "validate_every": 1000},
    )
    train(config, tmp_path / "run")
    found = list(losses(tmp_path / "run").values())
    assert found[0] == pytest.approx(1, rel=0.25)  # an image left alone scores 1
    assert np.mean(found[-3:]) < 0.9 * np.mean(found[:3])


def test_averaged_weights_follow_the_network(tiny_run, tmp_path):
    trainer = Trainer(tiny_run(), tmp_path / "run", CPU)
    average = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    for step in range(1, 4):
        trainer.run(lambda entry: None, until=step)
        decay = min(0.9, (1 + step) / (10 + step))
        for key, value in trainer.network.state_dict().items():
            average[key] = decay * average[key] + (1 - decay) * value
    for key, value in trainer.averaged_network().state_dict().items():
        torch.testing.assert_close(value, average[key])


def test_two_runs_of_one_configuration_are_equal_and_another_seed_is_not(tiny_run, tmp_path):
    config = tiny_run()
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        train(dataclasses.replace(config, seed=seed), tmp_path / name)
    assert same(state(tmp_path / "one"), state(tmp_path / "two"))
    assert not same(state(tmp_path / "one"), state(tmp_path / "other"))


def test_the_log_says_every_so_many_steps_how_it_goes(tiny_run, tmp_path):
    told = []
    train(tiny_run(), tmp_path / "run", report=told.append)
    entries = log(tmp_path / "run")
    assert entries == told
    assert list(losses(tmp_path / "run")) == [2, 4, 6]
    assert [entry["step"] for entry in entries if "mse_50" in entry] == [4, 6]


def test_validation_figures_are_logged_for_each_dose(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run")
    (*_, last) = log(tmp_path / "run")
    names = {
        f"{name}_{dose}" for name in ("mse", "psnr", "gain_db", "worst") for dose in (50, 5000)
    }
    assert last.keys() == {"step"} | names


def test_weights_of_a_run_denoise_at_once_and_say_how_they_were_made(tiny_run, tmp_path):
    config = tiny_run()
    train(config, tmp_path / "run")
    path = tmp_path / "run" / "weights.safetensors"
    network, record = load_weights(str(path))
    assert record.name == "run"
    assert record.training["step"] == 6
    assert record.training["config"] == json.loads(config.as_json())
    average = state(tmp_path / "run")
    for key, value in network.state_dict().items():
        assert torch.equal(value, average[f"average/{key}"].half().float())
    noisy = Micrograph(np.random.default_rng(0).poisson(30, (50, 60)))
    assert Denoiser(str(path), device="cpu")(noisy).micrograph.shape == (50, 60)


def unfinished(folder, entries):
    """Add lines to the log of a run, as one killed before its next checkpoint leaves them."""
    with open(folder / "log.jsonl", "a") as file:
        file.write(entries)


def test_steps_logged_after_the_last_checkpoint_are_forgotten_on_resuming(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run", until=2)
    unfinished(tmp_path / "run", '{"step": 4, "loss": 77.0}\n')
    train(tiny_run(), tmp_path / "run")
    assert list(losses(tmp_path / "run")) == [2, 4, 6]
    assert losses(tmp_path / "run")[4] != 77


def test_a_line_cut_short_by_a_kill_does_not_stop_the_run(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run", until=2)
    unfinished(tmp_path / "run", '{"step": 4, "lo')
    train(tiny_run(), tmp_path / "run")
    assert list(losses(tmp_path / "run")) == [2, 4, 6]


def test_a_run_killed_before_its_first_checkpoint_starts_again_with_an_empty_log(
    tiny_run, tmp_path
):
    (tmp_path / "run").mkdir()
    unfinished(tmp_path / "run", '{"step": 2, "loss": 77.0}\n')
    train(tiny_run(), tmp_path / "run")
    assert list(losses(tmp_path / "run")) == [2, 4, 6]


def test_the_length_and_the_running_of_a_run_may_change_on_the_way(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run")
    longer = tiny_run(optimiser={"steps": 8, "drops": [0.9]}, run={"log_every": 1})
    train(longer, tmp_path / "run")
    assert list(losses(tmp_path / "run")) == [2, 4, 6, 7, 8]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": {"learning_rate": 0.02}},
        {"data": {"batch": 8}},
        {"data": {"patch": 20}},
        {"network": {"options": {"widths": [4, 12], "depths": [1, 1]}}},
    ],
)
def test_a_run_of_another_configuration_is_not_resumed(changes, tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run", until=1)
    with pytest.raises(ConfigError, match="another configuration"):
        train(tiny_run(**changes), tmp_path / "run")


def foreign(path):
    save_file({"weight": torch.zeros(3)}, path)


def foreign_with_facts(path):
    save_file({"weight": torch.zeros(3)}, path, metadata={"step": "3", "config": "no JSON"})


def emptied(path):
    path.write_bytes(b"")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-50])


def scribbled_over(path):
    path.write_bytes(b"\xff" * 4000)


def without_weights(path):
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    save_file({"average/head.weight": torch.zeros(3)}, path, metadata=facts)


@pytest.mark.parametrize(
    "damage", [emptied, cut_short, scribbled_over, foreign, foreign_with_facts, without_weights]
)
def test_a_damaged_state_is_refused_with_its_name(damage, tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run", until=1)
    damage(tmp_path / "run" / "state.safetensors")
    with pytest.raises(ConfigError, match=r"state\.safetensors: cannot be resumed"):
        train(tiny_run(), tmp_path / "run")


def test_a_batch_that_does_not_divide_among_processes_is_refused(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match="batch is 4 for 3 processes"):
        Trainer(tiny_run(), tmp_path / "run", Process(0, 3, torch.device("cpu")))


def test_settings_that_a_run_did_not_know_are_taken_as_their_defaults(tiny_run, tmp_path):
    train(tiny_run(), tmp_path / "run", until=1)
    path = tmp_path / "run" / "state.safetensors"
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    old = json.loads(facts["config"])
    old["optimiser"].pop("kind")
    save_file(state(tmp_path / "run"), path, metadata=facts | {"config": json.dumps(old)})
    assert Trainer(tiny_run(), tmp_path / "run", CPU).step == 1


@pytest.mark.parametrize("name", ["patch", "validation_patch"])
def test_crops_that_do_not_fit_the_network_are_refused_before_the_first_step(
    name, tiny_run, tmp_path
):
    with pytest.raises(ConfigError, match=f"{name} is 18; .* multiples of 4"):
        Trainer(tiny_run(data={name: 18}), tmp_path / "run", CPU)


def test_a_run_starts_from_given_weights_of_the_same_network_alone(
    tiny_run, tmp_path, tiny_weights
):
    path = tiny_weights()
    given = load_weights(str(path))[0].state_dict()
    trainer = Trainer(tiny_run(network={"start": str(path)}), tmp_path / "run", CPU)
    assert same(dict(trainer.network.state_dict()), dict(given))
    assert same(trainer.average, dict(given))
    trainer.run(lambda entry: None, until=1)
    path.unlink()  # a run goes on without what it started from
    assert Trainer(tiny_run(network={"start": str(path)}), tmp_path / "run", CPU).step == 1
    tiny_weights()
    other = {"start": str(path), "options": {"widths": [4, 12], "depths": [1, 1]}}
    with pytest.raises(ConfigError, match=r"start: .* holds unet"):
        Trainer(tiny_run(network=other), tmp_path / "other", CPU)


@pytest.fixture
def data_set(tmp_path):
    """A data set of 24 crops of 32 x 32 in train and 8 in val."""
    write_fields(tmp_path / "raw", [f"s{n}__{m}.npy" for n in range(4) for m in range(2)], side=64)
    choices = Choices(crop=32, shard_crops=7, fractions=(0.75, 0.25, 0.0))
    build_dataset([tmp_path / "raw"], tmp_path / "set", choices)
    return tmp_path / "set"


def test_a_data_set_is_streamed_and_resumed_bit_for_bit(tiny_run, tmp_path, data_set):
    data = {"data": {"train": [str(data_set)], "validation": [str(data_set)]}}
    train(tiny_run(**data), tmp_path / "straight")
    for stop in (1, 4):
        train(tiny_run(**data), tmp_path / "halting", until=stop)
    train(tiny_run(**data), tmp_path / "halting")
    assert same(state(tmp_path / "straight"), state(tmp_path / "halting"))
    assert "mse_50" in log(tmp_path / "straight")[-1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"simulated": 1}, "streamed alone"),
        ({"patch": 64}, "holds crops of 32 px; .* patch is 64"),
        ({"validation_patch": 64}, "holds crops of 32 px; .* validation_patch is 64"),
    ],
)
def test_what_a_data_set_cannot_do_is_refused(change, problem, tiny_run, tmp_path, data_set):
    places = {"train": [str(data_set)], "validation": [str(data_set)]}
    with pytest.raises(ConfigError, match=problem):
        train(tiny_run(data=places | change), tmp_path / "run")


def test_a_data_set_beside_a_folder_is_refused(tiny_run, tmp_path, data_set):
    config = tiny_run(data={"train": [str(data_set), str(tmp_path / "raw")]})
    with pytest.raises(ConfigError, match="Build one set from all folders"):
        train(config, tmp_path / "run")


ATROUS = {
    "network": {"name": "atrous", "options": {"width": 1 / 64}},
    "data": {"patch": 32, "validation_patch": 32},
    "optimiser": {"kind": "adam", "betas": [0.5, 0.999], "drops": [0.5], "weight_decay": 5e-5},
    "run": {"loaders": 2},
}


def test_the_papers_network_trains_by_the_papers_recipe_and_resumes_bit_for_bit(tiny_run, tmp_path):
    train(tiny_run(**ATROUS), tmp_path / "straight")
    train(tiny_run(**ATROUS), tmp_path / "halting", until=3)
    train(tiny_run(**ATROUS), tmp_path / "halting")
    assert same(state(tmp_path / "straight"), state(tmp_path / "halting"))
    path = tmp_path / "straight" / "weights.safetensors"
    noisy = Micrograph(np.random.default_rng(0).poisson(30, (50, 60)))
    assert Denoiser(str(path), device="cpu")(noisy).micrograph.shape == (50, 60)


def test_frozen_norms_keep_their_moments_while_everything_else_learns(tiny_run, tmp_path):
    network = {"network": {"name": "atrous", "options": {"width": 1 / 64, "norm": "frozen"}}}
    train(tiny_run(**(ATROUS | network)), tmp_path / "run")
    found = _under("network/", state(tmp_path / "run"))
    assert any(key.endswith("running_mean") for key in found)
    for key, value in found.items():
        if key.endswith("running_mean"):
            assert not value.any()
        if key.endswith("running_var"):
            assert (value == 1).all()


def test_the_rate_of_a_run_falls_in_stairs(tiny_run, tmp_path):
    trainer = Trainer(tiny_run(**ATROUS), tmp_path / "run", CPU)
    rates = []
    for step in range(1, 7):
        trainer.run(lambda entry: None, until=step)
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    full = trainer.config.optimiser.learning_rate
    # Two steps of warm-up, and a drop at half of the run.
    assert rates == pytest.approx([0.5 * full, full, full, *3 * [0.25 * full]])


def test_bf16_training_is_close_to_float32(tiny_run, tmp_path):
    for precision in ("bf16", "float32"):
        train(tiny_run(run={"precision": precision}), tmp_path / precision)
    rough, exact = (losses(tmp_path / name) for name in ("bf16", "float32"))
    assert list(rough.values()) == pytest.approx(list(exact.values()), rel=0.02)


SCRIPT = """
import sys, pathlib, torch
from lowdose.train.config import load_config
from lowdose.train.loop import train

torch.set_num_threads(1)
train(load_config(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


def written(config, folder):
    """Write a configuration and the script that trains it; returns the script's arguments."""
    table = json.loads(config.as_json())
    lines = [f"seed = {table.pop('seed')}"]
    for name, settings in table.items():
        lines.append(f"[{name}]")
        for key, value in settings.items():
            if isinstance(value, dict):
                inside = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
                lines.append(f"{key} = {{ {inside} }}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    (folder / "run.toml").write_text("\n".join(lines))
    (folder / "run.py").write_text(SCRIPT)
    return [str(folder / "run.py"), str(folder / "run.toml")]


def test_a_run_of_so_many_minutes_ends_by_the_clock_and_its_rate_with_it(
    tiny_run, tmp_path, monkeypatch
):
    ticks = itertools.count()
    clock = types.SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr("lowdose.train.loop.time", clock)
    config = tiny_run(optimiser={"minutes": 2.0, "steps": 3}, run={"log_every": 1})
    halting = Trainer(config, tmp_path / "halting", CPU)
    halting.run(lambda entry: None, until=5)
    rates = []
    trainer = Trainer(config, tmp_path / "halting", CPU)
    assert trainer.step == 5
    trainer.run(lambda entry: rates.append(trainer.optimiser.param_groups[0]["lr"]))
    assert trainer.step > 10  # not the three steps, which do not count
    assert 120 <= trainer.seconds < 150
    assert rates[0] > 0.5 * config.optimiser.learning_rate
    assert rates[-1] < 0.02 * config.optimiser.learning_rate
    step = trainer.step
    again = Trainer(config, tmp_path / "halting", CPU)
    again.run(lambda entry: None)
    assert again.step == step


def test_minutes_are_refused_where_several_clocks_would_count_them(tiny_run, tmp_path):
    config = tiny_run(optimiser={"minutes": 1.0})
    with pytest.raises(ConfigError, match="minutes is 1 for 2 processes"):
        Trainer(config, tmp_path / "run", Process(0, 2, torch.device("cpu")))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own parts
def test_a_compiled_run_learns_what_another_does(tiny_run, tmp_path):
    for name, compiled in (("compiled", True), ("plain", False)):
        train(tiny_run(run={"compiled": compiled}), tmp_path / name)
    one, other = (losses(tmp_path / name) for name in ("compiled", "plain"))
    assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-3)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tiny_run, tmp_path):
    config = tiny_run(
        optimiser={"steps": 120},
        run={"checkpoint_minutes": 0.0, "log_every": 1, "validate_every": 7},
    )
    train(config, tmp_path / "straight")
    arguments = written(config, tmp_path)
    kills = 0
    for delay in (0.05, 0.2, 0.4, 0.1, 60):
        command = [sys.executable, *arguments, str(tmp_path / "killed")]
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
        reached = losses_so_far(tmp_path / "killed")
        while process.poll() is None and losses_so_far(tmp_path / "killed") <= reached:
            time.sleep(0.01)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 2
    assert process.returncode == 0
    assert same(state(tmp_path / "straight"), state(tmp_path / "killed"))
    assert list(losses(tmp_path / "killed")) == list(range(1, 121))
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")


def losses_so_far(folder):
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_two_processes_equal_one_to_rounding(tiny_run, tmp_path):
    config = tiny_run()
    train(config, tmp_path / "one")
    arguments = written(config, tmp_path)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         *arguments, str(tmp_path / "two")],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=120,
    )  # fmt: skip
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-5)
    assert list(losses(tmp_path / "two")) == [2, 4, 6]


def test_a_spread_is_learnt_and_all_else_is_kept(tiny_run, tiny_weights, tmp_path):
    start = tiny_weights()
    options = dict(build_options(tiny_run), spread=4)
    network = {"options": options, "start": str(start), "trains": "spread"}
    steps = {"steps": 60, "learning_rate": 0.02}
    train(tiny_run(network=network, optimiser=steps), tmp_path / "run")
    before, after = load_file(start), load_file(tmp_path / "run" / "weights.safetensors")
    for name, value in before.items():
        assert torch.equal(value.half(), after[name]), name
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"spread"}
    seen = list(losses(tmp_path / "run").values())
    assert sum(seen[-5:]) < sum(seen[:5])


def build_options(tiny_run):
    return tiny_run().network.options


def test_a_spread_that_is_not_there_cannot_be_trained(tiny_run):
    with pytest.raises(ConfigError, match="spread"):
        tiny_run(network={"trains": "spread"})


def test_a_spread_is_trained_by_one_process(tiny_run, tmp_path):
    network = {"options": dict(build_options(tiny_run), spread=4), "trains": "spread"}
    with pytest.raises(ConfigError, match="2 processes"):
        Trainer(tiny_run(network=network), tmp_path / "run", Process(0, 2, torch.device("cpu")))
