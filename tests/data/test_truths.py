import gzip
from collections import Counter

import numpy as np
import pytest

import lowdose
from lowdose.data.truths import Truth, TruthSet, draw_truths, find_truths, load_truths
from lowdose.errors import ConfigError, InputError
from lowdose.micrograph import Micrograph


def truth(group, index=0):
    return Truth(np.eye(4, dtype="f4"), 0.0, 1.0, f"{group}[{index}]", group)


def image(seed=0, shape=(20, 30)):
    return np.random.default_rng(seed).integers(5, 900, shape).astype("u2")


def test_a_crop_is_scaled_by_the_extremes_of_its_whole_image():
    pixels = np.array([[10, 20, 30], [40, 50, 60]], "u2")
    crop = Truth(pixels, 10.0, 60.0, "a", "a").crop(0, 1, 2, 2)
    assert crop.dtype == np.float32
    np.testing.assert_allclose(crop, [[0.2, 0.4], [0.8, 1.0]], rtol=1e-6)


def test_groups_are_drawn_by_the_square_root_of_their_size():
    large, small = [truth("large", n) for n in range(16)], [truth("small")]
    truths, rng = TruthSet(large + small), np.random.default_rng(0)
    drawn = Counter(truths.pick(0, rng).name for _ in range(20_000))
    assert drawn["small[0]"] / 20_000 == pytest.approx(1 / 5, abs=0.01)
    assert drawn["large[7]"] / 20_000 == pytest.approx(4 / 5 / 16, abs=0.01)
    assert len(truths) == 17


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ConfigError, match="no micrograph"):
        TruthSet([])


def test_files_are_found_below_a_folder_in_order_and_grouped_by_specimen(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b__2.npy", "b__1.npy", "deep/single.npy"):
        np.save(tmp_path / name, image())
    (tmp_path / "notes.txt").write_text("no image")
    told = []
    truths = load_truths([tmp_path], progress=told.append)
    assert [each.name for each in truths] == ["b__1.npy", "b__2.npy", "single.npy"]
    assert [each.group for each in truths] == ["b", "b", str(tmp_path / "deep")]
    assert [path.name for path in told] == ["b__1.npy", "b__2.npy", "single.npy"]


def test_packed_files_are_found_and_hidden_ones_are_not(tmp_path):
    lowdose.write(tmp_path / "a.mrc", Micrograph(image().astype(np.float32)))
    content = (tmp_path / "a.mrc").read_bytes()
    (tmp_path / "b.mrc.gz").write_bytes(gzip.compress(content))
    (tmp_path / "._a.mrc").write_bytes(b"what another system leaves behind")
    (tmp_path / "folder.mrc").mkdir()
    assert [each.name for each in load_truths([tmp_path])] == ["a.mrc", "b.mrc.gz"]


def test_pixels_are_kept_in_the_type_of_the_file_with_their_extremes(tmp_path):
    np.save(tmp_path / "a.npy", image())
    (only,) = load_truths([tmp_path / "a.npy"])
    assert only.pixels.dtype == np.uint16
    assert (only.low, only.high) == (image().min(), image().max())
    crop = only.crop(0, 0, 20, 30)
    assert (crop.min(), crop.max()) == (0, 1)


def test_each_frame_of_a_stack_is_an_image_with_extremes_of_its_own(tmp_path):
    np.save(tmp_path / "stack.npy", image(shape=(3, 20, 30)))
    truths = load_truths([tmp_path])
    assert [each.name for each in truths] == [f"stack.npy[{n}]" for n in range(3)]
    assert len({each.group for each in truths}) == 1
    assert truths[1].high == image(shape=(3, 20, 30))[1].max()


def test_an_image_smaller_than_a_crop_is_refused_by_name(tmp_path):
    np.save(tmp_path / "small.npy", image())
    with pytest.raises(InputError, match=r"small.npy: is 20 x 30 px; crops of 24 px"):
        load_truths([tmp_path], least_side=24)


def test_a_constant_image_is_refused_by_name(tmp_path):
    np.save(tmp_path / "flat.npy", np.full((20, 30), 7, "u2"))
    with pytest.raises(InputError, match=r"flat.npy: is constant \(every pixel is 7\)"):
        load_truths([tmp_path])


def test_a_folder_that_is_absent_or_empty_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        load_truths([tmp_path / "absent"])
    with pytest.raises(ConfigError, match="holds no file"):
        load_truths([tmp_path])


def test_a_file_that_is_reached_twice_counts_once(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("deep/b.npy", "a.npy"):
        np.save(tmp_path / name, image())
    (tmp_path / "linked").symlink_to(tmp_path / "deep")
    folders = [tmp_path / "deep", tmp_path, tmp_path / "linked", tmp_path / "deep" / "b.npy"]
    assert find_truths(folders) == [tmp_path / "deep" / "b.npy", tmp_path / "a.npy"]


@pytest.mark.parametrize("name", ["survey.jsonl", "train-000000.tar", "test-000003.tar"])
def test_a_data_set_whose_build_is_unfinished_is_said_to_be_so(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"unfinished. Call `lowdose dataset build` again"):
        load_truths([tmp_path])


def test_simulated_truths_are_the_same_for_the_same_seed_and_all_different():
    first, again = (draw_truths(2, seed=3, side=48) for _ in "12")
    for one, other in zip(first, again, strict=True):
        assert (one.name, one.group, one.low, one.high) == (
            other.name, other.group, other.low, other.high,
        )  # fmt: skip
        assert np.array_equal(one.pixels, other.pixels)
    assert all(each.low < each.high for each in first)
    assert len({each.pixels.tobytes() for each in first}) == len(first)
    assert Counter(each.group for each in first).most_common()[-1][1] == 2


def test_more_simulated_truths_begin_with_the_same_ones():
    few, many = (draw_truths(count, seed=3, side=32) for count in (1, 2))
    assert {each.pixels.tobytes() for each in few} <= {each.pixels.tobytes() for each in many}
