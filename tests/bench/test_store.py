"""Results on disk: the same bits come back, whatever cut the file short."""

import dataclasses
import math

import numpy as np
import pytest

from lowdose.bench.scores import Score
from lowdose.bench.store import Key, Result, Store
from lowdose.errors import ConfigError, OutputError

KEY = Key.of("low", 0, "a.png", "0123", "wavelet")


def result(key=KEY, value=0.1):
    score = Score.from_figures([value / 3, 1 / 7, 1e-300, math.inf, -0.0, 5e-17, 0.5, 1 / 9])
    arrays = {"blocks": np.full((2, 3), value, np.float32), "rim": np.array([np.nan], np.float32)}
    return Result(key, 83.1, score, arrays, 0.5)


def test_a_result_comes_back_bit_for_bit(tmp_path):
    with Store(tmp_path) as store:
        store.add([result()])
    with Store(tmp_path) as store:
        found = store[KEY]
    assert found.score == result().score
    assert found.dose == 83.1
    for name, array in result().arrays.items():
        assert found.arrays[name].tobytes() == array.tobytes()
        assert found.arrays[name].shape == array.shape


def test_any_change_of_what_a_result_follows_from_is_another_key():
    changes = {"law": "ordinary", "seed": 1, "truth": "b", "truth_sha256": "", "method": "m"}
    others = {dataclasses.replace(KEY, **{field: value}) for field, value in changes.items()}
    others.add(dataclasses.replace(KEY, protocol=0))
    assert len(others) == 6
    assert KEY not in others
    assert len({key.digest for key in others | {KEY}}) == 7


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_cut_short_is_dropped_and_the_next_is_whole(cut, tmp_path):
    other = dataclasses.replace(KEY, seed=1)
    with Store(tmp_path) as store:
        store.add([result()])
    whole = (tmp_path / "results.jsonl").read_bytes()
    (tmp_path / "results.jsonl").write_bytes(whole + whole[:cut])
    with Store(tmp_path) as store:
        assert KEY in store
        store.add([result(other)])
    with Store(tmp_path) as store:
        assert KEY in store
        assert other in store
    assert len((tmp_path / "results.jsonl").read_bytes().splitlines()) == 2


@pytest.mark.parametrize("line", [b"{}\n", b"5\n", b"\xff\n", b'{"key": {}, "arrays": 3}\n'])
def test_a_damaged_line_is_computed_again(line, tmp_path):
    with Store(tmp_path) as store:
        store.add([result()])
    path = tmp_path / "results.jsonl"
    path.write_bytes(line + path.read_bytes())
    with Store(tmp_path) as store:
        assert KEY in store


def test_a_file_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "results.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match="holds no result"):
        Store(tmp_path)
    assert (tmp_path / "results.jsonl").read_text() == "mine\n"


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Store(tmp_path / "file")
