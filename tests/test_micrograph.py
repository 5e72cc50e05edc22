import dataclasses

import numpy as np
import pytest

from lowdose.micrograph import Axis, Micrograph, round_to_dtype


def test_axes_are_named_where_none_are_given():
    assert [axis.name for axis in Micrograph(np.zeros((2, 3))).axes] == ["y", "x"]
    assert [axis.name for axis in Micrograph(np.zeros((4, 2, 3))).axes] == ["frame", "y", "x"]


def test_an_image_is_one_frame_and_a_stack_of_one_is_still_a_stack():
    image = Micrograph(np.arange(6).reshape(2, 3))
    stack = Micrograph(np.arange(6).reshape(1, 2, 3))
    assert (image.is_stack, image.frame_count, image.shape) == (False, 1, (2, 3))
    assert (stack.is_stack, stack.frame_count, stack.shape) == (True, 1, (1, 2, 3))
    for micrograph in (image, stack):
        (frame,) = micrograph.frames()
        assert frame.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros(5),
        np.zeros((1, 1, 1, 1)),
        np.zeros((0, 5)),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), bool),
        np.full((2, 2), "a"),
    ],
    ids=["1-D", "4-D", "empty", "complex", "boolean", "text"],
)
def test_refuses_what_is_no_image(pixels):
    with pytest.raises(ValueError, match="expected"):
        Micrograph(pixels)


def test_refuses_axes_of_another_number():
    with pytest.raises(ValueError, match="1 axes"):
        Micrograph(np.zeros((2, 3)), axes=(Axis("x"),))


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Micrograph(np.zeros((2, 3))).pixels = np.ones((2, 3))


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("nm", 2), ("A", 0.2), ("Å", 0.2), ("µm", 2000), ("μm", 2000), ("um", 2000), ("pm", 0.002)],
)
def test_every_spelling_of_a_length_is_known_in_nanometres(unit, nm):
    assert Axis("x", 2.0, unit).step_nm == pytest.approx(nm)


@pytest.mark.parametrize("axis", [Axis("x"), Axis("x", 2.0), Axis("x", 2.0, "1/nm")])
def test_a_size_that_is_unknown_or_no_length_is_none(axis):
    assert axis.step_nm is None
    assert Micrograph(np.zeros((2, 2)), axes=(Axis("y", 1, "nm"), axis)).pixel_size_nm is None


def test_pixel_size_is_y_then_x_also_in_a_stack():
    axes = (Axis("z", 9, "nm"), Axis("y", 1, "nm"), Axis("x", 2, "nm"))
    assert Micrograph(np.zeros((3, 2, 2)), axes=axes).pixel_size_nm == (1, 2)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_an_impossible_scale(scale):
    with pytest.raises(ValueError, match="scale"):
        Axis("x", scale)


def test_other_pixels_keep_calibration_and_add_to_the_history():
    first = Micrograph(
        np.zeros((2, 2), "u2"), axes=(Axis("y", 1, "nm"), Axis("x", 1, "nm")), history=("a",)
    )
    second = first.with_pixels(np.ones((2, 2), "f4"), "b", "c")
    assert second.history == ("a", "b", "c")
    assert second.axes == first.axes
    assert not first.pixels.any()


def test_integers_are_rounded_to_the_nearest_and_clipped():
    pixels = np.array([-np.inf, -1.2, 0.4, 2.5, 3.5, 254.6, 256.0, np.inf])
    assert round_to_dtype(pixels, "u1").tolist() == [0, 0, 0, 2, 4, 255, 255, 255]
    assert round_to_dtype(pixels, "i1").tolist() == [-128, -1, 0, 2, 4, 127, 127, 127]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("source", ["f4", "f8"])
def test_pixels_beyond_any_integer_type_land_at_its_ends(dtype, source):
    limits = np.iinfo(dtype)
    low, high, nan = round_to_dtype(np.array([-1e30, 1e30, np.nan], source), dtype).tolist()
    assert low == nan == limits.min
    assert high == pytest.approx(limits.max, rel=1e-7)


def test_one_integer_type_becomes_another_exactly():
    pixels = np.array([0, 300, 2**62 + 1], "u8")
    assert round_to_dtype(pixels, "u8").tolist() == pixels.tolist()
    assert round_to_dtype(pixels, "u2").tolist() == [0, 300, 65535]
    assert round_to_dtype(np.array([-5, 5], "i2"), "u4").tolist() == [0, 5]


def test_floats_stay_as_they_are():
    pixels = np.array([-0.5, 1e30], "f4")
    assert round_to_dtype(pixels, "f4") is pixels
