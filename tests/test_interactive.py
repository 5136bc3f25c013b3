"""Figures that compute in the browser: right arithmetic, and usable by everyone.

The site is the one in `_build/html` (`make book`); nothing is built here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import lacks, require, require_program
from test_site import ARGUMENTS, PHONE, SITE, Reader, browser_test

from bnlib import functional

PAGE = "chapters/transform.html"
FIGURE = ".bn-transform"
SETTINGS = [
    {},
    {"shape": "groups", "m": 64, "gamma": -1.5, "beta": 3.0},
    {"shape": "even", "m": 8, "offset": -6.0, "outlier": 30.0},
    {"scale": 1e-4, "eps": 1e-8},
    {"scale": 1e-3, "eps": 1.0, "gamma": 4.0},
    {"m": 2, "eps": 10.0},
    {"m": 3, "shape": "groups"},
]


def normalised(knobs: dict[str, Any], raw: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the package makes of a batch: normalised, and after scale and shift."""
    x = torch.tensor(raw, dtype=torch.float64)[:, None]
    gamma, beta = (torch.tensor([knobs[k]], dtype=torch.float64) for k in ("gamma", "beta"))
    hat = functional.batch_norm(x, None, None, training=True, eps=knobs["eps"])
    out = functional.batch_norm(x, None, None, gamma, beta, training=True, eps=knobs["eps"])
    return hat[:, 0], out[:, 0]


def shown(tab: Any) -> dict[str, Any]:
    """Return the values that the figure on the page has drawn."""
    return json.loads(tab.locator(FIGURE).get_attribute("data-values"))


def assert_agrees(found: dict[str, Any], knobs: dict[str, Any]) -> None:
    hat, out = normalised(knobs, found["raw"])
    for ours, theirs in ((hat, found["hat"]), (out, found["out"])):
        drawn = torch.tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(drawn, ours, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Open the site from disk, in a browser that is gone before another module starts its own."""
    if not (SITE / PAGE).is_file():
        lacks(f"{PAGE} on the built site: run `make book`")
    api = require("playwright.sync_api")
    program = os.environ.get("CHROMIUM") or require_program(
        "chromium", "chromium-browser", "google-chrome"
    )
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield Reader(browser, SITE.as_uri() + "/")
        browser.close()


class TestTransform:
    pytestmark = browser_test

    def test_arithmetic_is_the_packages(self, reader: Reader) -> None:
        with reader.open(PAGE) as tab:
            start = tab.evaluate("bnTransform.START")
            for changes in SETTINGS:
                knobs = start | changes
                found = tab.evaluate("knobs => bnTransform.compute(knobs)", knobs)
                assert len(found["raw"]) == knobs["m"]
                assert_agrees(found, knobs)

    def test_moments_are_those_of_the_batch(self, reader: Reader) -> None:
        x = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()
        with reader.open(PAGE) as tab:
            found = tab.evaluate("x => bnTransform.moments(x)", x.tolist())
        z = (x - x.mean()) / x.std(correction=0)
        wanted = [x.mean(), x.var(correction=0), (z**3).mean(), (z**4).mean()]
        names = ["mean", "variance", "skewness", "kurtosis"]
        for name, value in zip(names, wanted, strict=True):
            assert found[name] == pytest.approx(float(value), rel=1e-10)

    def test_every_knob_moves_by_keyboard(self, reader: Reader) -> None:
        with reader.open(PAGE) as tab:
            ranges = tab.locator(f"{FIGURE} input[type=range]")
            assert ranges.count() == 6
            for i in range(ranges.count()):
                before = shown(tab)
                ranges.nth(i).focus()
                tab.keyboard.press("ArrowRight")
                after = shown(tab)
                moved = [k for k, v in after["knobs"].items() if v != before["knobs"][k]]
                assert len(moved) == 1, moved
                assert_agrees(after, after["knobs"])
                label = tab.locator(f"label[for={ranges.nth(i).get_attribute('id')}]")
                assert label.is_visible()
            tab.locator("#bn-transform-m").focus()
            tab.keyboard.press("ArrowUp")
            assert shown(tab)["knobs"]["m"] == 8
        assert reader.complaints == []

    def test_undo_gives_the_batch_back(self, reader: Reader) -> None:
        with reader.open(PAGE) as tab:
            tab.get_by_role("button", name="Undo it").press("Enter")
            found = shown(tab)
            assert found["out"] == pytest.approx(found["raw"], abs=1e-12)
            tab.locator("#bn-transform-offset").focus()
            tab.keyboard.press("PageUp")
            moved = shown(tab)
            assert moved["raw"] != pytest.approx(found["raw"], abs=0.1)
            assert moved["out"] == pytest.approx(found["out"], abs=1e-9)  # the offset drops out

    def test_batch_of_two_is_told_in_words(self, reader: Reader) -> None:
        with reader.open(PAGE) as tab:
            tab.get_by_role("button", name="Batch of two").click()
            assert "−1 and +1" in tab.locator(f"{FIGURE} [role=status]").inner_text()
            assert "−1 and +1" in tab.locator(f"{FIGURE} svg").get_attribute("aria-label")
            row = tab.locator(f"{FIGURE} tr[data-row=hat]").inner_text().split()
            assert "1.00" in row

    def test_fits_a_phone(self, reader: Reader) -> None:
        with reader.open(PAGE, size=PHONE) as tab:
            box = tab.locator(FIGURE).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            sizes = tab.locator(f"{FIGURE} svg text").evaluate_all(
                "all => all.map(e => e.getBoundingClientRect().height)"
            )
            assert min(sizes) >= 12  # the drawing is made for its width, not shrunk to it
            heights = tab.locator(f"{FIGURE} :is(input, button, select)").evaluate_all(
                "all => all.map(e => e.getBoundingClientRect().height)"
            )
            assert min(heights) >= 24

    def test_follows_the_dark_theme(self, reader: Reader) -> None:
        fills = []
        for theme in ("light", "dark"):
            with reader.open(PAGE, theme=theme) as tab:
                text = tab.locator(f"{FIGURE} svg text").first
                fills.append(text.evaluate("e => getComputedStyle(e).fill"))
        assert fills[0] != fills[1]

    def test_is_a_picture_without_javascript(self, reader: Reader) -> None:
        with reader.open(PAGE, java_script_enabled=False) as tab:
            picture = tab.locator("#fig-transform-knobs img")
            assert picture.is_visible()
            assert "skewness" in picture.get_attribute("alt")

    @pytest.mark.usefixtures("reader")
    def test_its_script_is_on_its_page_only(self) -> None:
        loading = [
            page.relative_to(SITE).as_posix()
            for page in SITE.rglob("*.html")
            if "_static/transform." in page.read_text(encoding="utf-8")
        ]
        assert loading == [PAGE]


class TestSlider:
    """A native slider below a Plotly figure, on every page that asks for one."""

    pytestmark = browser_test
    PAGE = "chapters/landscape.html"
    DRAWN = "#fig-landscape-slide .bn-drawn"
    SAID = ".bn-slider [role=status]"
    MARKERS = """() => document.querySelector("#fig-landscape-slide .js-plotly-plot").data
        .filter((trace) => trace.mode === "markers").map((trace) => [trace.x[0], trace.y[0]])"""
    LINES = """() => document.querySelector("#fig-landscape-slide .js-plotly-plot").calcdata
        .map((points) => points.map((point) => [point.x, point.y]))"""

    def test_arrow_keys_move_the_points_along_their_curves(self, reader: Reader) -> None:
        with reader.open(self.PAGE) as tab:
            knob = tab.locator("#fig-landscape-slide-slider")
            knob.scroll_into_view_if_needed()
            tab.wait_for_selector(self.DRAWN)
            knob.focus()
            before, said = tab.evaluate(self.MARKERS), tab.locator(self.SAID).inner_text()
            for _ in range(10):
                tab.keyboard.press("ArrowRight")
            tab.wait_for_function(f"({self.MARKERS})()[0][0] > 0.95")
            after = tab.evaluate(self.MARKERS)
            assert all(x == pytest.approx(1.0) for x, _ in after)
            assert [y for _, y in before] != [y for _, y in after]
            curves = tab.evaluate(self.LINES)
            for x, y in after:  # each point lies on one of the curves
                assert any(abs(x - u) + abs(y - v) < 1e-3 for line in curves for u, v in line)
            assert tab.locator(self.SAID).inner_text() != said
            assert knob.get_attribute("aria-valuetext") == "1.0%"
            assert tab.locator("label[for=fig-landscape-slide-slider]").is_visible()
            assert tab.locator("#fig-landscape-slide .slider-group").count() == 0
        assert reader.complaints == []
        assert reader.strangers == []

    @pytest.mark.parametrize(
        ("page", "figure"), [("convergence", "fig-convergence-grid"), ("noise", "int-noise")]
    )
    def test_arrow_keys_choose_a_setting(self, reader: Reader, page: str, figure: str) -> None:
        seen = f"""() => document.querySelector("#{figure} .js-plotly-plot").data
            .flatMap((trace, i) => trace.visible ? [i] : [])"""
        with reader.open(f"chapters/{page}.html") as tab:
            knob = tab.locator(f"#{figure}-slider")
            knob.scroll_into_view_if_needed()
            tab.wait_for_selector(f"#{figure} .bn-drawn")
            at, said = int(knob.input_value()), tab.locator(self.SAID).inner_text()
            assert tab.evaluate(seen) == [2 * at, 2 * at + 1]
            knob.focus()
            tab.keyboard.press("ArrowLeft")
            tab.wait_for_function(f"({seen})()[0] == {2 * at - 2}")
            assert tab.evaluate(seen) == [2 * at - 2, 2 * at - 1]
            assert tab.locator(self.SAID).inner_text() != said
        assert reader.complaints == []

    @pytest.mark.parametrize("page", [PAGE, "chapters/convergence.html", "chapters/noise.html"])
    def test_fits_a_phone(self, reader: Reader, page: str) -> None:
        with reader.open(page, size=PHONE) as tab:
            box = tab.locator(".bn-slider").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            assert tab.locator(".bn-slider input").bounding_box()["height"] >= 24
