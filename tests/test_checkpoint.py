import hashlib
import json

import pytest
import torch
from torch import nn

from lowdose.checkpoint import Record, load_weights, save_weights
from lowdose.errors import WeightsError
from tests.conftest import TINY


def with_record(path, **changes):
    """Change the record beside some weights."""
    record = path.with_suffix(".json")
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))
    return str(path)


def test_weights_come_back_as_they_were_ready_for_use(tiny_weights):
    path = tiny_weights()
    first, record = load_weights(str(path))
    save_weights(path, first.state_dict(), record, dtype=torch.float32)
    again, same = load_weights(str(path))
    assert not again.training
    assert same == record
    for key, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_a_record_comes_back_whole(tmp_path, tiny_weights):
    network, _ = load_weights(str(tiny_weights()))
    record = Record(
        "full", "unet", TINY, summary="s", training={"step": 3}, sources=({"url": "u"},),
        quality={"psnr": 30.5}, limits=("not for µ",),
    )  # fmt: skip
    saved = save_weights(tmp_path / "full.safetensors", network.state_dict(), record)
    assert load_weights(str(tmp_path / "full.safetensors"))[1] == saved
    assert saved.sha256 == hashlib.sha256((tmp_path / "full.safetensors").read_bytes()).hexdigest()
    assert saved.label == f"full:{saved.sha256[:12]}"


def test_half_precision_halves_the_file_and_comes_back_as_float32(tiny_weights):
    full, half = tiny_weights("full"), tiny_weights("half", dtype=torch.float16)
    header = 8 + int.from_bytes(full.read_bytes()[:8], "little")
    assert half.stat().st_size < 0.5 * (full.stat().st_size - header) + header + 100
    exact, rounded = (load_weights(str(path))[0].state_dict() for path in (full, half))
    for key, value in rounded.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, exact[key].half().float())


def test_counters_of_batch_normalisation_stay_whole_numbers(tmp_path):
    norm = nn.BatchNorm2d(2)
    norm.num_batches_tracked.fill_(100_001)
    path = tmp_path / "norm.safetensors"
    save_weights(path, norm.state_dict(), Record("norm", "none", {}))
    from safetensors.torch import load_file

    assert load_file(path)["num_batches_tracked"] == 100_001


@pytest.mark.parametrize("place", [0, 8, 200, -1])
def test_a_flipped_byte_is_refused_wherever_it_is(place, tiny_weights):
    path = tiny_weights()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="was altered"):
        load_weights(str(path))


def test_weights_cut_short_are_refused(tiny_weights):
    path = tiny_weights()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="was altered"):
        load_weights(str(path))


def test_a_pickle_in_disguise_is_not_opened_whatever_its_hash(tiny_weights):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    path = tiny_weights()
    torch.save({"bomb": Bomb()}, path)
    name = with_record(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(name)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"widths": [4, 12], "depths": [1, 1]}},
        {"options": {"widths": [4, 8, 8], "depths": [1, 1, 1]}},
        {"options": {"size": 3}},
        {"network": "unheard-of"},
        {"network": "atrous", "options": {"width": 0.03}},
    ],
)
def test_weights_that_do_not_fit_their_record_are_refused(changes, tiny_weights):
    with pytest.raises(WeightsError, match=r"does not fit network .*\.$"):
        load_weights(with_record(tiny_weights(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"sources": 5},
        {"sha256": 7},
        {"network": ["unet"]},
        {"options": [1, 2]},
    ],
)
def test_a_record_that_is_none_is_refused(changes, tiny_weights):
    with pytest.raises(WeightsError, match="is no record of weights"):
        load_weights(with_record(tiny_weights(), **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"name": "x"}', "\xff"])
def test_a_record_that_is_no_table_is_refused(text, tiny_weights):
    path = tiny_weights()
    path.with_suffix(".json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match="is no record of weights"):
        load_weights(str(path))


def test_weights_without_a_record_are_refused(tiny_weights):
    path = tiny_weights()
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match="is no record of weights"):
        load_weights(str(path))


@pytest.mark.parametrize("name", ["", "nonsense", "absent.safetensors", "."])
def test_a_name_that_is_none_is_refused_with_the_names_there_are(name):
    with pytest.raises(WeightsError, match="neither shipped"):
        load_weights(name)


def test_an_interrupted_save_leaves_the_weights_before_it(tiny_weights, monkeypatch):
    path = tiny_weights()
    network, record = load_weights(str(path))
    monkeypatch.setattr(
        "pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(Exception, match="full"):
        save_weights(path, network.state_dict(), record)
    monkeypatch.undo()
    assert load_weights(str(path))[1] == record
    assert {each.name for each in path.parent.iterdir()} == {
        path.name,
        path.with_suffix(".json").name,
    }
