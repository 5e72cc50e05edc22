import dataclasses
import json
from pathlib import Path

import pytest

from lowdose.errors import ConfigError
from lowdose.train.config import TrainConfig, load_config, parse_config

LEAST = {"data": {"train": ["crops"]}}


def with_setting(section, name, value):
    return LEAST | {section: LEAST.get(section, {}) | {name: value}}


def test_only_the_truths_must_be_named():
    config = parse_config(LEAST)
    assert config.data.train == ("crops",)
    assert config == dataclasses.replace(TrainConfig(config.data))
    assert parse_config({"data": {"simulated": 3}}).data.train == ()


def test_every_section_reaches_its_record():
    config = parse_config(
        {
            "seed": 7,
            "data": {"train": ["a", "b"], "validation_doses": [5, 50.5]},
            "network": {"name": "unet", "options": {"widths": [4, 8]}},
            "dose": {"wide": [2, 20]},
            "augmentation": {"invert": 1},
            "optimiser": {"learning_rate": 0.01},
            "run": {"precision": "float32"},
        }
    )
    assert config.seed == 7
    assert config.data.validation_doses == (5.0, 50.5)
    assert config.network.options == {"widths": [4, 8]}
    assert config.dose.wide == (2.0, 20.0)
    assert config.augmentation.invert == 1.0
    assert config.run.precision == "float32"


def test_whole_numbers_become_floats_where_floats_are_wanted():
    config = parse_config(with_setting("run", "checkpoint_minutes", 3))
    assert isinstance(config.run.checkpoint_minutes, float)


def test_its_json_holds_every_setting_and_parses_back_to_it():
    config = parse_config(with_setting("dose", "wide", [2, 20]))
    table = json.loads(config.as_json())
    assert parse_config(table) == config
    assert table.keys() == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize(
    ("section", "name", "value", "sentence"),
    [
        ("data", "bacth", 4, "has no setting 'bacth'; it has: train"),
        ("data", "batch", 4.5, "batch is 4.5; expected int"),
        ("data", "batch", "4", "batch is '4'; expected int"),
        ("data", "batch", True, "batch is True; expected int"),
        ("data", "train", "crops", r"train is 'crops'; expected tuple\[str, \.\.\.\]"),
        ("data", "train", [3], "train is 3; expected str"),
        ("data", "validation_doses", [[1]], r"validation_doses is \[1\]; expected float"),
        ("dose", "wide", [1, 2, 3], r"wide is \[1, 2, 3\]; expected tuple\[float, float\]"),
        ("optimiser", "learning_rate", "fast", "learning_rate is 'fast'; expected float"),
        ("optimiser", "average", True, "average is True; expected float"),
        ("run", "precision", "float16", r"precision is 'float16'; expected .*bf16"),
        ("data", "train", {"a": 1}, r"train is \{'a': 1\}; expected tuple"),
        ("optimiser", "kind", {}, r"kind is \{\}; expected"),
        ("network", "options", [1], r"options is \[1\]; expected"),
    ],
)
def test_unknown_and_ill_typed_settings_are_refused(section, name, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_config(with_setting(section, name, value))


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("data", "train", []),
        ("data", "simulated", -1),
        ("data", "patch", 8),
        ("data", "batch", 0),
        ("data", "validation_patch", 0),
        ("data", "validation_doses", [50.0, 0.0]),
        ("data", "validation_doses", [float("nan")]),
        ("optimiser", "steps", 0),
        ("optimiser", "learning_rate", 0.0),
        ("optimiser", "learning_rate", float("nan")),
        ("optimiser", "warmup", -1),
        ("optimiser", "weight_decay", -0.1),
        ("optimiser", "gradient_norm", 0.0),
        ("optimiser", "average", 1.0),
        ("run", "log_every", 0),
        ("run", "validate_every", 0),
        ("run", "checkpoint_minutes", -1.0),
        ("augmentation", "shrink", -1.0),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(section, name, value):
    with pytest.raises(ConfigError, match=name):
        parse_config(with_setting(section, name, value))


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed is -1"):
        parse_config(LEAST | {"seed": -1})


@pytest.mark.parametrize("table", [{}, {"data": 3}, {"data": {}}, {"data": LEAST, "date": {}}])
def test_a_table_of_another_shape_is_refused(table):
    with pytest.raises(ConfigError):
        parse_config(table)


def test_folders_are_relative_to_the_file(tmp_path):
    path = tmp_path / "deep" / "run.toml"
    path.parent.mkdir()
    path.write_text('[data]\ntrain = ["../a", "/b"]\nvalidation = ["c"]\n')
    config = load_config(path)
    assert config.data.train == (str(tmp_path / "a"), "/b")
    assert config.data.validation == (str(path.parent / "c"),)


def test_a_run_is_the_same_wherever_its_configuration_is_named_from(tmp_path, monkeypatch):
    (tmp_path / "run.toml").write_text('[data]\ntrain = ["a"]\n')
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("run.toml")) == load_config(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[data\n", "is no TOML file"),
        (b"\xff\xfe", "cannot be read"),
        (b"[data]\npatch = 160\n", "train names no folder"),
        (b"[data]\ntrain = ['a']\ntypo = 1\n", "has no setting 'typo'"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(content, sentence, tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"run.toml: .*{sentence}"):
        load_config(path)


def test_a_file_that_is_absent_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load_config(tmp_path / "absent.toml")


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_config(LEAST).seed = 3
