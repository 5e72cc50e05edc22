"""Pictures: one stretch of contrast a row, panels where they belong."""

import numpy as np
from PIL import Image

from lowdose.report.picture import Panel, Row, draw_rows, save_picture

RAMP = np.linspace(0, 100, 64 * 64).reshape(64, 64)


def test_panels_share_the_contrast_of_the_last_one():
    page = np.asarray(draw_rows([Row("", [Panel(RAMP + 1000, ""), Panel(RAMP, "")])]))
    rows = page[34 : 34 + 64]
    assert (rows[:, 12 : 12 + 64] == 255).all()  # far brighter than the reference
    reference = rows[:, 88 : 88 + 64]
    assert reference.min() == 0
    assert reference.max() == 255


def test_a_constant_reference_is_black_and_what_is_brighter_white():
    page = np.asarray(draw_rows([Row("flat", [Panel(RAMP * 0 + 8, ""), Panel(RAMP * 0 + 7, "")])]))
    rows = page[34 : 34 + 64]
    assert (rows[:, 12 : 12 + 64] == 255).all()
    assert (rows[:, 88 : 88 + 64] == 0).all()


def test_rows_lie_below_each_other_with_legible_text(tmp_path):
    one = Row("title", [Panel(RAMP, "caption")])
    page, pages = draw_rows([one]), draw_rows([one, one])
    assert pages.height - 12 == 2 * (page.height - 12)
    assert (np.asarray(page)[:34] < 100).any()
    save_picture(tmp_path / "a.png", pages)
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.size == pages.size
