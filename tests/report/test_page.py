"""The report page: one file, fetches nothing, believes no text, small at any size."""

import base64
import io
import math
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lowdose.errors import OutputError
from lowdose.report.page import Page, compose, write_page
from lowdose.report.page_pictures import Overlay, draw_views, reduced
from lowdose.report.page_tables import Score, findings_table, scores_table
from lowdose.report.page_viewer import Mark
from lowdose.trust.finding import Finding
from tests.report.pages import HOSTILE, example_page, hostile_curve

RAMP = np.linspace(0, 100, 64 * 96).reshape(64, 96)
VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Elements, attributes and text of a page; fails where elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def hostile_page() -> Page:
    finding = Finding(HOSTILE, "warning", float("nan"), float("inf"), HOSTILE, HOSTILE)
    return Page(
        HOSTILE,
        (HOSTILE, HOSTILE),
        "note",
        RAMP,
        RAMP,
        overlays=[Overlay(HOSTILE, RAMP, HOSTILE, "uncertainty", HOSTILE)],
        marks=[Mark(1, 1, 5, HOSTILE)],
        findings=[finding],
        scores=[Score(HOSTILE, 1.0)],
        score_note=HOSTILE,
        curves=[hostile_curve()],
        facts=[(HOSTILE, HOSTILE)],
        provenance=[(HOSTILE, HOSTILE)],
    )


def test_no_text_becomes_markup():
    plain, hostile = (Outline(compose(page)) for page in (example_page(256), hostile_page()))
    known = {tag for tag, _ in plain.elements}
    assert {tag for tag, _ in hostile.elements} <= known
    assert hostile.count("script") == 1
    names = {name for _, attributes in hostile.elements for name in attributes}
    assert not any(name.startswith("on") for name in names)
    shown = sum(text.count(HOSTILE) for text in hostile.texts)
    assert shown >= 18  # title twice, verdict, and every other text as it was given


def test_a_page_refers_to_nothing_outside_itself():
    text = compose(example_page(256))
    addresses = [
        value
        for _, attributes in Outline(text).elements
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data", "poster"}
    ]
    assert len(addresses) > 5
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?:|@import|url\(", text)


def test_the_policy_allows_this_script_and_this_style_alone():
    text = compose(example_page(256))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in Outline(text).elements)


def test_the_same_page_gives_the_same_bytes():
    assert compose(example_page(256)) == compose(example_page(256))


def test_empty_parts_are_left_out():
    outline = Outline(compose(Page("bare.mrc", ("Fine.", "Nothing to do."), "fine", RAMP, RAMP)))
    assert outline.count("h2") == outline.count("table") == outline.count("fieldset") == 0
    assert outline.count("img") == 2


def test_a_file_name_that_is_no_text_is_shown_with_question_marks(tmp_path):
    page = Page("bad\udcff.mrc", ("Fine.", "None."), "fine", RAMP, RAMP)
    write_page(tmp_path / "a.html", page)
    assert "<h1>bad?.mrc</h1>" in (tmp_path / "a.html").read_text("utf-8")


def test_a_page_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    page = Page("a.mrc", ("Fine.", "None."), "fine", RAMP, RAMP)
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(tmp_path / "absent" / "a.html", page)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_page(tmp_path / "a.html", page)
    assert list(tmp_path.iterdir()) == []


def test_images_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="overlay 'map' has shape"):
        Page("a", ("", ""), "fine", RAMP, RAMP, [Overlay("map", RAMP[1:], "", "residual")])
    with pytest.raises(ValueError, match="before holds NaN"):
        Page("a", ("", ""), "fine", RAMP * np.nan, RAMP)


def test_inputs_stay_as_they_are():
    page = example_page(256)
    arrays = [page.before, page.after, *(each.pixels for each in page.overlays)]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    compose(page)
    assert all(np.array_equal(*pair) for pair in zip(arrays, copies, strict=True))


def test_before_and_after_share_the_contrast_of_after():
    (view,) = draw_views(RAMP + 1000, RAMP, [])
    before, after = (np.asarray(decoded(uri)) for uri in (view.before, view.after))
    assert (before == 255).all()
    assert (after.min(), after.max()) == (0, 255)
    assert after.shape == RAMP.shape


def test_a_large_image_is_seen_whole_and_a_detail_of_it_pixel_by_pixel():
    after = np.random.default_rng(0).normal(0, 1, (1500, 2900)).astype(np.float32)
    after[100, 2800] = 1e3
    whole, part = draw_views(after, after, [], detail=(100, 2800))
    assert (whole.reduction, part.reduction) == (3, 1)
    assert decoded(whole.after).size == (967, 500)
    assert (part.corner, part.shape) == ((0, 2900 - 512), (512, 512))
    shown = np.asarray(decoded(part.after))
    low, high = np.percentile(after, (0.2, 99.8))
    exact = 255 * np.clip((after[:512, -512:] - low) / (high - low), 0, 1)
    assert np.abs(shown - exact).max() < 0.51  # stored without loss
    assert shown[100, 2800 - part.corner[1]] == 255


def test_reduction_is_the_mean_of_boxes():
    pixels = np.random.default_rng(0).uniform(0, 1000, (60, 90))
    boxes = pixels.reshape(20, 3, 30, 3).mean((1, 3))
    assert reduced(pixels, 3) == pytest.approx(boxes, rel=1e-5)


def test_an_overlay_is_clear_at_zero_and_opaque_where_it_is_strong():
    signed = np.zeros((64, 64))
    signed[:, :8], signed[:, -8:] = -5, 5
    (view,) = draw_views(RAMP[:, :64], RAMP[:, :64], [Overlay("map", signed, "", "residual")])
    (layer,) = view.layers
    colours = np.asarray(decoded(layer.uri).convert("RGBA")).astype(int)
    assert (layer.low, layer.high) == (-5, 5)
    assert colours[0, 30, 3] == 0
    assert colours[0, 0, 3] == colours[0, -1, 3] > 200
    assert colours[0, 0, 2] > colours[0, 0, 0]  # blue below zero,
    assert colours[0, -1, 0] > colours[0, -1, 2]  # orange above


def test_a_rare_contradiction_is_drawn():
    rare = np.zeros((64, 64))
    rare[3, 5] = 7
    (view,) = draw_views(RAMP[:, :64], RAMP[:, :64], [Overlay("map", rare, "", "contradiction")])
    opacity = np.asarray(decoded(view.layers[0].uri).convert("RGBA"))[..., 3]
    assert opacity[3, 5] == opacity.max() > 200
    assert np.count_nonzero(opacity) == 1


def test_numbers_of_a_column_have_equal_decimals():
    scores = [Score("a", 12.5, (12.25, 13), 1.0), Score("b", 0.0312, (0.03, 0.04), is_best=True)]
    text = compose(Page("a", ("", ""), "fine", RAMP, RAMP, scores=scores))
    for shown in ("12.5000", "12.2500 – 13.0000", "0.0312", "0.0300 – 0.0400"):
        assert f'<td class="number">{shown}</td>' in text


def test_warnings_come_first():
    levels = ("fine", "note", "warning")
    findings = [Finding(f"check {level}", level, 0, 1, "meaning") for level in levels]
    text = compose(Page("a", ("", ""), "fine", RAMP, RAMP, findings=findings))
    places = [text.index(f"check {level}") for level in reversed(levels)]
    assert places == sorted(places)


def test_marks_outside_a_view_are_not_drawn_in_it():
    marks = [Mark(1, 1, 5, "inside"), Mark(500, 1, 5, "outside")]
    outline = Outline(compose(Page("a", ("", ""), "note", RAMP, RAMP, marks=marks)))
    boxes = [values for tag, values in outline.elements if tag == "rect" and values["x"] == "1"]
    assert [box["y"] for box in boxes] == ["1", "1"]  # a dark one behind the bright one


def test_a_page_of_4096_pixels_of_pure_noise_stays_below_5_mb(tmp_path):
    rng = np.random.default_rng(0)
    before = rng.integers(0, 1000, (4096, 4096), np.uint16)
    after = before[::-1]
    names = ("uncertainty", "residual", "contradiction")
    maps = [before, before.astype(np.float32) - 500, after]
    overlays = [Overlay(name, pixels, "", name) for name, pixels in zip(names, maps, strict=True)]
    write_page(tmp_path / "a.html", example_page(64, before=before, after=after, overlays=overlays))
    assert 2e6 < (tmp_path / "a.html").stat().st_size < 5e6


def test_a_page_of_2048_pixels_takes_two_seconds_of_one_core(tmp_path):
    page = example_page(2048)
    start = time.process_time()
    write_page(tmp_path / "a.html", page)
    assert time.process_time() - start < 2


def test_tiny_and_huge_errors_are_written_with_powers_of_ten():
    for size in (2e-18, 2e59):
        table = scores_table([Score("one", size, (size / 2, 2 * size))], "")
        assert f"{size:.3g}" in table
        assert "0000000000" not in table
        assert "0.0000000" not in table


def test_a_limit_that_is_none_is_not_shown():
    row = findings_table([Finding("reach", "fine", 3.8, math.inf, "It reaches.")])
    assert "inf" not in row
