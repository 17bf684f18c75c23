"""The report in a real browser: silent, alone, never too wide, legible in both themes and printed.

The screenshots stay under tests/artifacts/, for a person to look at.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import records
from playwright.sync_api import Browser, Page, sync_playwright

from job.report.page import render

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "report"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PHONE, DESK = 375, 1200

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium with a profile of its own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Browser, file: Path, width: int = DESK, **options: Any) -> Iterator[Page]:
    """The page; afterwards nothing may have been logged or asked for."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: (
            None
            if request.url == file.as_uri() or request.url.startswith("data:")
            else wrong.append(f"request: {request.url}")
        ),
    )
    page.goto(file.as_uri())
    yield page
    context.close()
    assert not wrong


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mnist")
    render(folder, records.real()[1])
    return folder / "report.html"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    render(folder, records.table(folder, "cost=5:1", report_rows="all", metric="balanced_accuracy"))
    return folder / "report.html"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_looks_right(browser: Browser, mnist: Path, width: int, theme: Any) -> None:
    with opened(browser, mnist, width, color_scheme=theme, device_scale_factor=2) as page:
        assert overflow(page) <= 0
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 18, 22)"}[theme]
        line = page.locator("svg path[style*='--accent']").first
        assert line.evaluate("e => getComputedStyle(e).stroke") == page.locator(
            "header b"
        ).first.evaluate("e => getComputedStyle(e).color")
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{width}-{theme}.png", full_page=True)


def test_the_text_in_the_plots_stays_legible_on_a_phone(browser: Browser, mnist: Path) -> None:
    with opened(browser, mnist, PHONE) as page:
        heights = page.evaluate(
            "[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height)"
        )
        assert min(heights) >= 8


def test_no_table_is_cut_on_a_phone(browser: Browser, mnist: Path, table: Path) -> None:
    for file in (mnist, table):
        with opened(browser, file, PHONE) as page:
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert page.locator(".scroll").evaluate_all(
                "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
            ) == []  # fmt: skip
            page.screenshot(path=ARTIFACTS / f"{file.parent.name[:5]}-phone.png", full_page=True)


BROKEN_WORDS = """
() => [...document.querySelectorAll('th, td, dd, dt')].flatMap(cell => {
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [];
  for (let node; (node = walker.nextNode());)
    for (const word of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map(r => Math.round(r.top)));
      if (lines.size > 1 && word[0].length <= 30) found.push(word[0]);
    }
  return found;
})
"""
"""Words in tables that stand on two lines; longer ones are paths and hashes."""


def test_no_column_is_narrower_than_its_words(browser: Browser, mnist: Path, table: Path) -> None:
    for file in (mnist, table):
        for width in (PHONE, DESK):
            with opened(browser, file, width) as page:
                page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
                assert page.evaluate(BROKEN_WORDS) == []


def test_it_prints_on_white_from_a_dark_desktop(browser: Browser, mnist: Path) -> None:
    with opened(browser, mnist, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        pdf = page.pdf(path=ARTIFACTS / "print.pdf", format="A4", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6


def test_folded_tables_open_by_keyboard(browser: Browser, mnist: Path) -> None:
    with opened(browser, mnist) as page:
        folded = page.get_by_text("Loss and accuracy after each epoch")
        assert not folded.is_visible()
        page.locator("details", has=folded).locator("summary").focus()
        page.keyboard.press("Enter")
        assert folded.is_visible()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("hostile", {"classes": records.HOSTILE, "shape": (8, 8), "dtype": "uint8"}),
        ("100-classes", {"classes": [f"species-{i:03}" for i in range(100)], "rows": 3000}),
        (
            "1000-classes",
            {"classes": range(1000), "rows": 5000, "shape": (8, 8, 3), "dtype": "uint8"},
        ),
        ("2-classes", {"validation": 0, "epochs": 1, "right": 1.0}),
    ],
)
def test_odd_runs_fit_too(
    browser: Browser, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    render(tmp_path, records.invented(**changes))
    for width in (PHONE, DESK):
        with opened(browser, tmp_path / "report.html", width) as page:
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert overflow(page) <= 0
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=ARTIFACTS / f"{name}-{width}.png", full_page=True)
