"""The report page in a real browser: what moves, moves; and nothing is fetched."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowdose.report.page import write_page
from tests.report.pages import HOSTILE, example_page, hostile_curve

# As root there is no sandbox; the rest keeps the browser's own services from calling home.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)
PROGRAMS = {name: shutil.which(name) for name in ("chromium", "chromedriver")}


def start_chromium(profile: Path):
    """A headless Chromium that logs its console and its requests; skips where there is none."""
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    lacking = [name for name, path in PROGRAMS.items() if path is None]
    lacking += ["selenium"] * (webdriver is None)
    if lacking:
        reason = f"the page is tested in a browser, and there is no {' and no '.join(lacking)}"
        if os.environ.get("LOWDOSE_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAMS["chromium"]
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=PROGRAMS["chromedriver"])
    return webdriver.Chrome(options=options, service=service)


class Viewer:
    """The page as a reader works with it."""

    def __init__(self, browser, path: Path) -> None:
        self.browser = browser
        self.path = path

    def open(self, width: int = 1366, height: int = 768, *, is_phone: bool = False) -> "Viewer":
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        touch = {"enabled": is_phone, "maxTouchPoints": 2}
        self.devtools("Emulation.setTouchEmulationEnabled", **touch)
        self.browser.get(self.path.as_uri())
        self.logs("browser")
        return self

    def devtools(self, command: str, **arguments):
        return self.browser.execute_cdp_cmd(command, arguments)

    def ask(self, script: str):
        return self.browser.execute_script(f"return {script}")

    def logs(self, kind: str):
        return self.browser.get_log(kind)

    def click(self, selector: str) -> None:
        from selenium.webdriver.common.by import By

        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def press(self, selector: str, *keys: str) -> None:
        """Give an element the focus, as the tab key does, and type."""
        from selenium.webdriver import ActionChains

        self.ask(f"document.querySelector('{selector}').focus()")
        ActionChains(self.browser).send_keys(*keys).perform()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, from one place of the stage to another, as fractions of its sides."""
        (x, y), (x_end, y_end) = self.place(*start), self.place(*end)
        self.mouse("mousePressed", x, y)
        for step in (0.3, 0.7, 1.0):
            self.mouse("mouseMoved", x + step * (x_end - x), y + step * (y_end - y))
        self.mouse("mouseReleased", x_end, y_end)

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.devtools("Input.dispatchMouseEvent", type=kind, x=x, y=y, **(button | more))

    def touch(self, kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
        self.devtools("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def place(self, across: float, down: float) -> tuple[float, float]:
        left, top, width, height = self.ask(
            "(({left, top, width, height}) => [left, top, width, height])"
            "(document.querySelector('.stage').getBoundingClientRect())"
        )
        return left + across * width, top + down * height

    @property
    def cut(self) -> float:
        """Width of what is seen of the image before, in screen pixels."""
        clip = self.ask("getComputedStyle(document.querySelector('.view.on .before')).clipPath")
        inset = re.fullmatch(r"inset\(0px calc\(100% - ([\d.]+)px\) 0px 0px\)", clip)
        assert inset, clip
        return float(inset[1])

    @property
    def zoom(self) -> float:
        """Screen pixels per image pixel, in percent."""
        return float(self.ask("document.querySelector('#percent').textContent").split()[0])

    @property
    def image_width(self) -> float:
        return self.ask("document.querySelector('.view.on .after img').clientWidth")

    @property
    def corner(self) -> tuple[float, float]:
        """Where the image's corner lies from that of the stage."""
        return tuple(
            self.ask(
                "['Left', 'Top'].map(side => document.querySelector('.view.on')['offset' + side])"
            )
        )

    @property
    def scale_bar(self) -> tuple[str, float]:
        text = self.ask("document.querySelector('.scale-text').textContent")
        return text, self.ask("document.querySelector('.scale-bar').getBoundingClientRect().width")

    def screenshot(self) -> np.ndarray:
        shot = self.devtools("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    chromium = start_chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report #1 100%.html"
    write_page(path, example_page(2048))
    return path


@pytest.fixture
def viewer(browser, path: Path) -> Viewer:
    return Viewer(browser, path).open()


def test_a_page_opens_without_a_word_in_the_console_and_without_a_request(viewer):
    viewer.logs("performance")
    viewer.browser.get(viewer.path.as_uri())
    assert viewer.logs("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in viewer.logs("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    outside = [address for address in addresses if not address.startswith("data:")]
    assert outside == [viewer.path.as_uri()]


def test_the_policy_stops_what_would_be_fetched(viewer):
    beside = viewer.path.with_name("beside.png")
    Image.new("L", (4, 4)).save(beside)
    loaded = viewer.browser.execute_async_script(
        "const done = arguments[1], image = new Image();"
        "image.onload = () => done(true); image.onerror = () => done(false);"
        "image.src = arguments[0];",
        beside.as_uri(),
    )
    assert loaded is False
    assert "Content Security Policy" in viewer.logs("browser")[0]["message"]


def test_hostile_texts_are_shown_and_do_nothing(browser, tmp_path):
    path = tmp_path / "hostile.html"
    names = [(HOSTILE, HOSTILE)]
    page = example_page(256, title=HOSTILE, curves=[hostile_curve()], facts=names)
    write_page(path, page)
    viewer = Viewer(browser, path)
    viewer.open()
    browser.get(path.as_uri())
    assert viewer.logs("browser") == []
    assert viewer.ask("document.querySelector('h1').textContent") == HOSTILE
    assert viewer.ask("document.querySelectorAll('img[src=x]').length") == 0


def test_the_divider_follows_mouse_slider_and_keys(viewer):
    width = viewer.image_width
    assert viewer.cut == pytest.approx(width / 2, abs=1)
    viewer.drag((0.5, 0.5), (0.25, 0.4))
    assert viewer.cut == pytest.approx(width / 4, abs=2)
    before = viewer.cut
    viewer.press("#split", "\ue014")  # right arrow
    assert viewer.cut == pytest.approx(before + width / 200, abs=1)
    before = viewer.cut
    viewer.press(".stage", "\ue012")  # left arrow
    assert viewer.cut == pytest.approx(before - width / 50, abs=1)


def test_the_divider_stays_at_its_place_on_the_screen_while_the_image_moves(viewer):
    viewer.click("#in")
    viewer.click("#in")
    width = viewer.ask("document.querySelector('.stage').clientWidth")
    assert viewer.corner[0] + viewer.cut == pytest.approx(width / 2, abs=1)
    left, top = viewer.corner
    viewer.drag((0.7, 0.5), (0.8, 0.6))
    assert viewer.corner[0] == pytest.approx(left + width / 10, abs=2)
    assert viewer.corner[1] == pytest.approx(top + width / 10, abs=2)
    assert viewer.corner[0] + viewer.cut == pytest.approx(width / 2, abs=1)


def test_the_image_cannot_be_dragged_out_of_sight(viewer):
    viewer.click("#in")
    viewer.drag((0.7, 0.1), (0.95, 0.95))
    assert viewer.corner == (0, 0)


def test_the_scale_bar_follows_the_zoom(viewer):
    def length_nm() -> float:
        text, width = viewer.scale_bar
        factor = {"nm": 1, "µm": 1000}[text.split()[1]]
        return float(text.split()[0]) * factor / width

    # 0.3 nm a pixel, and so many screen pixels for each of them
    per_screen_pixel = 2048 * 0.3 / viewer.image_width
    assert length_nm() == pytest.approx(per_screen_pixel, rel=0.01)
    text = viewer.scale_bar[0]
    for _ in range(4):
        viewer.click("#in")
    assert viewer.scale_bar[0] != text
    assert length_nm() == pytest.approx(per_screen_pixel / 1.5**4, rel=0.01)
    viewer.click("#actual")
    assert viewer.zoom == 100
    assert length_nm() == pytest.approx(0.3, rel=0.01)


def test_without_a_pixel_size_the_scale_bar_counts_pixels(browser, tmp_path):
    path = tmp_path / "a.html"
    write_page(path, example_page(256, pixel_size_nm=None))
    viewer = Viewer(browser, path).open()
    text, width = viewer.scale_bar
    assert text.endswith(" px")
    assert width / float(text.split()[0]) == pytest.approx(viewer.image_width / 256, rel=0.01)


def test_buttons_keys_double_click_and_wheel_zoom(viewer):
    fit = viewer.zoom
    viewer.click("#in")
    assert viewer.zoom == pytest.approx(1.5 * fit, abs=1)
    viewer.click("#out")
    assert viewer.zoom == fit
    viewer.press(".stage", "+")
    assert viewer.zoom == pytest.approx(1.5 * fit, abs=1)
    viewer.press(".stage", "0")
    assert viewer.zoom == fit
    x, y = viewer.place(0.3, 0.3)
    for count in (1, 2):
        viewer.mouse("mousePressed", x, y, clickCount=count)
        viewer.mouse("mouseReleased", x, y, clickCount=count)
    assert viewer.zoom == pytest.approx(2 * fit, abs=1)
    viewer.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    assert viewer.zoom == pytest.approx(2 * np.exp(0.4) * fit, abs=1)
    viewer.click("#fit")
    assert viewer.zoom == fit


def test_the_wheel_zooms_about_the_pointer(viewer):
    viewer.press(".stage", "+")
    width = viewer.ask("document.querySelector('.stage').clientWidth")
    before = (0.25 * width - viewer.corner[0]) / viewer.image_width
    viewer.mouse("mouseWheel", *viewer.place(0.25, 0.5), deltaX=0, deltaY=-300)
    after = (0.25 * width - viewer.corner[0]) / viewer.image_width
    assert after == pytest.approx(before, abs=0.005)


def test_the_wheel_scrolls_the_page_until_the_image_is_clicked(viewer):
    fit = viewer.zoom
    viewer.mouse("mouseWheel", *viewer.place(0.5, 0.5), deltaX=0, deltaY=-200)
    assert viewer.zoom == fit


def test_fingers_move_the_divider_and_pinch(browser, path):
    viewer = Viewer(browser, path).open(390, 844, is_phone=True)
    width, fit = viewer.image_width, viewer.zoom
    y = viewer.place(0, 0.5)[1]
    viewer.touch("touchStart", (viewer.place(0.5, 0)[0], y))
    for across in (0.6, 0.7, 0.8):
        viewer.touch("touchMove", (viewer.place(across, 0)[0], y))
    viewer.touch("touchEnd")
    assert viewer.cut == pytest.approx(0.8 * width, rel=0.06)  # a finger slips before it drags
    middle = viewer.place(0.5, 0)[0]
    viewer.touch("touchStart", (middle - 30, y), (middle + 30, y))
    for apart in (40, 60, 75):
        viewer.touch("touchMove", (middle - apart, y), (middle + apart, y))
    viewer.touch("touchEnd")
    assert viewer.zoom == pytest.approx(2.5 * fit, rel=0.25)


def test_overlays_are_shown_one_at_a_time_with_their_legend(viewer):
    def shown(selector: str) -> list[bool]:
        return viewer.ask(
            f"[...document.querySelectorAll('{selector}')].map(each => each.checkVisibility())"
        )

    assert not any(shown(".overlay") + shown(".controls .about") + shown(".opacity"))
    plain = viewer.screenshot()
    for index in range(3):
        viewer.click(f"label:has(input[name=overlay][value='{index + 1}'])")
        assert [place for place, is_shown in enumerate(shown(".view.on .overlay")) if is_shown] == [
            index
        ]
        assert sum(shown(".controls .about")) == 1
    assert shown(".opacity") == [True]
    assert (viewer.screenshot() != plain).any()
    viewer.press("#opacity", *"\ue012" * 30)  # left arrow
    opacity = viewer.ask("getComputedStyle(document.querySelector('.overlay.on')).opacity")
    assert float(opacity) == pytest.approx(0.5)


def test_marks_can_be_hidden_and_looked_at(viewer):
    def visible() -> bool:
        return viewer.ask("document.querySelector('.view.on .marks').checkVisibility()")

    fit = viewer.zoom
    assert visible()
    viewer.click("#marks")
    assert not visible()
    viewer.click("#marks")
    viewer.click("li:nth-child(2) .mark")
    assert viewer.zoom > 2 * fit
    box, stage = (
        viewer.ask(
            "(({left, right, top, bottom}) => [(left + right) / 2, (top + bottom) / 2])"
            f"(document.querySelector('{selector}').getBoundingClientRect())"
        )
        for selector in (".view.on .marks rect:nth-of-type(4)", ".stage")
    )
    assert box == pytest.approx(stage, abs=2)


def test_the_detail_is_another_view_at_its_own_scale(viewer):
    viewer.click("label:has(input[name=view][value='1'])")
    assert viewer.zoom == pytest.approx(100 * viewer.image_width / 512, abs=1)
    assert "rows 768 to 1279" in viewer.ask("document.querySelector('#caption').textContent")
    text, width = viewer.scale_bar
    assert float(text.split()[0]) / width == pytest.approx(512 * 0.3 / viewer.image_width, rel=0.01)


@pytest.mark.parametrize("shape", [(300, 1200), (1000, 1000), (1200, 300)])
def test_an_image_of_any_shape_fits_into_the_window(browser, tmp_path, shape):
    path = tmp_path / "a.html"
    part = np.s_[: shape[0], : shape[1]]
    whole = example_page(1200)
    images = {name: getattr(whole, name)[part] for name in ("before", "after")}
    write_page(path, example_page(1200, overlays=(), **images))
    viewer = Viewer(browser, path).open(1366, 660)
    width = viewer.image_width
    assert width * shape[0] / shape[1] < 0.81 * 660
    assert width > 0.6 * min(1200 * 0.66, 660 * 0.64 * shape[1] / shape[0])
    height = viewer.ask("document.querySelector('.view.on .after img').clientHeight")
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.02)


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844), (320, 568)])
def test_nothing_is_wider_than_the_screen(browser, path, width, height):
    viewer = Viewer(browser, path).open(width, height, is_phone=width < 500)
    assert viewer.ask("document.documentElement.scrollWidth") <= width
    assert viewer.screenshot().std() > 30


def test_every_control_has_a_name(viewer):
    nodes = viewer.devtools("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "radio", "checkbox", "image"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {role for role, _ in named} == roles
    assert [role for role, name in named if not name.strip()] == []


def test_in_print_before_and_after_stand_side_by_side(viewer):
    viewer.click("#in")
    viewer.devtools("Emulation.setEmulatedMedia", media="print")
    boxes = {
        kind: viewer.ask(
            "(({left, right, top, bottom}) => [left, right, top, bottom])"
            f"(document.querySelector('.view .{kind} img').getBoundingClientRect())"
        )
        for kind in ("before", "after")
    }
    clip = viewer.ask("getComputedStyle(document.querySelector('.view .before')).clipPath")
    viewer.devtools("Emulation.setEmulatedMedia", media="")
    assert boxes["before"][1] <= boxes["after"][0]
    assert boxes["before"][2:] == pytest.approx(boxes["after"][2:])
    assert clip == "none"
    printed = base64.b64decode(viewer.devtools("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
