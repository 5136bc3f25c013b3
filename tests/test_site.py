"""The built site as a reader meets it: in a real browser, alone on the network, on a phone.

The site is the one in `_build/html` (`make book`); nothing is built here.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from conftest import lacks, require, require_program

SITE = Path(__file__).parents[1] / "_build" / "html"
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if not path.relative_to(SITE).parts[0].startswith("_")
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

browser_test = [pytest.mark.browser, pytest.mark.slow]

FACTS = """() => {
  const seen = (e) => e.checkVisibility();
  const all = (q) => [...document.querySelectorAll(q)];
  return {
    formulas: all('.math').length,
    typeset: all('.math mjx-container').length,
    broken: all('mjx-merror, [data-mjx-error]').map((e) => e.textContent),
    images: all('.bd-article img').map((e) => [e.alt, e.naturalWidth, e.currentSrc]),
    search: all('.search-button, .search-button-field, input[type=search]').filter(seen).length,
    headers: all('header').filter((e) => seen(e) && !e.textContent.trim()).length,
    font: document.fonts.check('16px "Source Serif 4"'),
    width: [document.documentElement.scrollWidth, window.innerWidth],
  };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not write to the terminal."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Reader:
    """A browser on the site, which notes what goes wrong and what is asked of other hosts."""

    def __init__(self, browser: Any, base: str) -> None:
        self.browser, self.base = browser, base
        self.complaints: list[str] = []
        self.strangers: list[str] = []

    def _route(self, route: Any) -> None:
        url = route.request.url
        if url.startswith((self.base, "data:", "blob:", "file:")):
            route.continue_()
            return
        # No network: what is asked of another host fails, and is noted.
        self.strangers.append(url)
        route.abort()

    @contextlib.contextmanager
    def open(
        self, page: str, *, theme: str = "light", size: dict[str, int] = WIDE, **options: Any
    ) -> Iterator[Any]:
        """Open a page and wait until nothing more is loaded."""
        self.complaints, self.strangers = [], []
        context = self.browser.new_context(viewport=size, reduced_motion="reduce", **options)
        context.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
        )
        context.route("**/*", self._route)
        tab = context.new_page()
        tab.on("console", self._hear)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.goto(page if "://" in page else self.base + page)
        if options.get("java_script_enabled", True):
            settle(tab)
        yield tab
        context.close()

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    if not PAGES:
        lacks("the built site: run `make book`")
    api = require("playwright.sync_api")
    program = os.environ.get("CHROMIUM") or require_program(
        "chromium", "chromium-browser", "google-chrome"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield Reader(browser, f"http://127.0.0.1:{server.server_port}/")
        browser.close()
    server.shutdown()
    server.server_close()


@pytest.fixture
def pages() -> list[str]:
    if not PAGES:
        lacks("the built site: run `make book`")
    return PAGES


@dataclass
class Seen:
    """What was seen on a page."""

    wide: dict[str, Any]
    phone: dict[str, Any]
    complaints: list[str]
    strangers: list[str]
    barriers: dict[str, list[str]]


def look(reader: Reader, page: str) -> Seen:
    """Open a page once, wide, narrow, light and dark."""
    axe = require("axe_playwright_python.sync_playwright").Axe()
    with reader.open(page) as tab:
        wide = tab.evaluate(FACTS)
        barriers = {theme: barriers_of(axe, tab, theme) for theme in ("light", "dark")}
        tab.set_viewport_size(PHONE)
        tab.reload()
        settle(tab)
        phone = tab.evaluate(FACTS)
    return Seen(wide, phone, reader.complaints, reader.strangers, barriers)


def barriers_of(axe: Any, tab: Any, theme: str) -> list[str]:
    """Rules of accessibility that a page breaks, everything folded being open."""
    # In the light every rule; in the dark what colours change.
    rules = ["wcag2a", "wcag2aa"] if theme == "light" else ["color-contrast"]
    tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    tab.evaluate("document.querySelectorAll('article details').forEach(d => d.open = true)")
    tab.wait_for_timeout(250)  # colours change gradually
    # Thousands of glyphs and tokens take most of the time. A formula has the colour of the text
    # around it and a spoken form of its own; the colours of code show in the first ten blocks.
    tab.evaluate(
        "[...document.querySelectorAll('pre')].slice(10).forEach(p => p.classList.add('more'))"
    )
    context = {"include": [["main"]], "exclude": [["mjx-container"], ["pre.more"]]}
    found = axe.run(tab, context=context, options={"runOnly": rules, "preload": False}).response[
        "violations"
    ]
    return [
        f"{item['id']}: {node['target']} {node['failureSummary']}"
        for item in found
        for node in item["nodes"][:3]
    ]


def settle(tab: Any) -> None:
    """Wait until nothing more is loaded and formulas are set."""
    tab.wait_for_load_state("networkidle")
    tab.evaluate("window.MathJax?.startup?.promise")


def pages_with(text: str) -> list[str]:
    """Pages whose source contains a text."""
    return [page for page in PAGES if text in (SITE / page).read_text(encoding="utf-8")]


def having(text: str) -> pytest.MarkDecorator:
    """Run a test on one page that has what is tested; the site must have one."""
    return pytest.mark.parametrize("page", pages_with(text)[:1] or [f"a page with {text}"])


def faults_of(seen: Seen) -> dict[str, Any]:
    """Whatever is wrong with a page, by name; each is empty or zero on a good page."""
    wide, phone = seen.wide, seen.phone
    return {
        "formulas that are not set": wide["formulas"] - wide["typeset"],
        "formulas with an error": wide["broken"],
        "images that are not there": [src for _, width, src in wide["images"] if width == 0],
        "figures that do not say what they show": [
            (alt, src) for alt, _, src in wide["images"] if not says_something(alt)
        ],
        "messages of the console": seen.complaints,
        "other hosts that were asked": seen.strangers,
        "searches too many or too few": [f["search"] for f in (wide, phone) if f["search"] != 1],
        "empty headers": wide["headers"] + phone["headers"],
        "letters that are not the book's": not wide["font"],
        "pixels too wide for a phone": max(0, phone["width"][0] - phone["width"][1]),
        "barriers in the light": seen.barriers["light"],
        "barriers in the dark": seen.barriers["dark"],
    }


# One test a page, since opening it is what takes the time.
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES or ["the built site"])
def test_page(reader: Reader, page: str) -> None:
    found = faults_of(look(reader, page))
    assert {name: fault for name, fault in found.items() if fault} == {}


MODES: dict[str, dict[str, Any]] = {
    "dark": {"theme": "dark"},
    "dark phone": {"theme": "dark", "size": PHONE},
    "small phone": {"size": {"width": 360, "height": 740}},
    "tablet": {"size": {"width": 820, "height": 1180}},
    "print": {},
    "without JavaScript": {"java_script_enabled": False},
}


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("page", PAGES or ["the built site"])
@pytest.mark.parametrize("mode", MODES)
def test_page_in_every_mode(reader: Reader, mode: str, page: str) -> None:
    with reader.open(page, **MODES[mode]) as tab:
        if mode == "print":
            tab.emulate_media(media="print")
        facts = tab.evaluate(FACTS)
    if mode == "without JavaScript":  # what is typeset and searched in the browser is not there
        facts |= {"typeset": facts["formulas"], "search": 1, "headers": 0, "font": True}
    if mode == "print":
        facts |= {"search": 1}
    seen = Seen(facts, facts, reader.complaints, reader.strangers, {"light": [], "dark": []})
    assert {name: fault for name, fault in faults_of(seen).items() if fault} == {}


def test_each_fault_of_a_page_is_named() -> None:
    good = {
        "formulas": 2, "typeset": 2, "broken": [], "images": [["what a figure shows", 9, "a.svg"]],
        "search": 1, "headers": 0, "font": True, "width": [390, 390],
    }  # fmt: skip
    bad = {
        "formulas": 2, "typeset": 1, "broken": ["x"], "images": [["figure.png", 0, "a.svg"]],
        "search": 2, "headers": 1, "font": False, "width": [400, 390],
    }  # fmt: skip
    assert not any(faults_of(Seen(good, good, [], [], {"light": [], "dark": []})).values())
    assert all(faults_of(Seen(bad, bad, ["e"], ["h"], {"light": ["l"], "dark": ["d"]})).values())


def says_something(alt: str) -> bool:
    """Whether a text is a phrase, not a file's name or a hash."""
    return len(alt.split()) >= 4 and not re.search(r"[0-9a-f]{16}|\.(svg|png)\b", alt)


class TestQuiz:
    pytestmark = browser_test

    @having('class="bn-option')
    def test_is_answered_by_keyboard(self, reader: Reader, page: str) -> None:
        with reader.open(page) as tab:
            option = tab.locator(".bn-option").first
            assert not option.locator(".bn-word").is_visible()
            option.locator("summary").focus()
            tab.keyboard.press("Enter")
            assert option.locator(".bn-word").is_visible()
            assert option.locator(".bn-answer").inner_text().count(" ") > 3

    @having('class="bn-option')
    def test_reveals_nothing_before_a_choice(self, reader: Reader, page: str) -> None:
        with reader.open(page) as tab:
            shown = tab.locator(".bn-word").evaluate_all("e => e.filter(x => x.checkVisibility())")
            assert shown == []

    @having('class="bn-option')
    def test_works_without_javascript(self, reader: Reader, page: str) -> None:
        with reader.open(page, java_script_enabled=False) as tab:
            option = tab.locator(".bn-option").first
            option.locator("summary").click()
            assert option.locator(".bn-word").is_visible()

    @having("data-claim=")
    def test_remembers_a_prediction(self, reader: Reader, page: str) -> None:
        with reader.open(page) as tab:
            quiz = tab.locator(".bn-predict[data-claim]").first
            text = quiz.locator("summary").first.inner_text().strip()
            quiz.locator("summary").first.click()
            quiz.locator(".bn-memory").wait_for()
            tab.reload()
            assert text in quiz.locator(".bn-memory").inner_text()


class TestInteractiveFigure:
    pytestmark = browser_test

    @having('class="bn-plotly"')
    def test_draws_in_the_colours_of_the_page(self, reader: Reader, page: str) -> None:
        with reader.open(page, theme="dark") as tab:
            box = tab.locator(".bn-plotly").first
            box.scroll_into_view_if_needed()
            box.locator(".main-svg").first.wait_for(timeout=30_000)
            tab.wait_for_selector(".bn-drawn")
            assert box.locator("path.js-line, .points path, .bars path").count() > 0
            text = box.locator("text").first.evaluate("e => getComputedStyle(e).fill")
            assert min(int(part) for part in re.findall(r"\d+", text)[:3]) > 150
        assert reader.complaints == []
        assert reader.strangers == []

    @having('class="bn-plotly"')
    def test_is_told_in_words_without_javascript(self, reader: Reader, page: str) -> None:
        with reader.open(page, java_script_enabled=False) as tab:
            assert says_something(tab.locator(".bn-plotly .bn-noscript").first.inner_text())

    @pytest.mark.usefixtures("pages")
    def test_one_plotly_for_the_whole_site(self) -> None:
        assert len(list(SITE.rglob("plotly*.js"))) == 1
        assert pages_with("plotly.min.js") == []  # fetched when a figure comes into view


class TestFromDisk:
    pytestmark = browser_test

    @having('class="math')
    def test_opens_without_a_server(self, reader: Reader, page: str) -> None:
        with reader.open((SITE / page).as_uri()) as tab:
            facts = tab.evaluate(FACTS)
        assert facts["typeset"] == facts["formulas"] > 0
        assert reader.strangers == []


class Links(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to and what it is called."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def read_links(page: Path) -> Links:
    parser = Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_internal_links_lead_somewhere(pages: list[str]) -> None:
    read = {page: read_links(SITE / page) for page in pages}
    lost = []
    for page, found in read.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = (SITE / page).parent / unquote(parts.path) if parts.path else SITE / page
            target = Path(os.path.normpath(path))
            name = target.relative_to(SITE).as_posix()
            known = not parts.fragment or name not in read
            if not target.is_file() or not (known or unquote(parts.fragment) in read[name].anchors):
                lost.append(f"{page} -> {link}")
    assert lost == []


def test_nothing_is_loaded_from_another_host(pages: list[str]) -> None:
    loads = re.compile(r"""<(?:script|img|link|iframe)[^>]+(?:src|href)=["'](https?:)?//""")
    assert [page for page in pages if loads.search((SITE / page).read_text("utf-8"))] == []


def test_nobody_is_told_to_install_the_other_bnlib(pages: list[str]) -> None:
    files = [SITE / page for page in pages] + sorted((SITE / "notebooks").glob("*.ipynb"))
    assert [f.name for f in files if "pip install bnlib" in f.read_text("utf-8")] == []
