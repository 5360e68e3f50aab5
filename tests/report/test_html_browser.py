"""The HTML report in a real browser: quiet, self-contained, readable at both widths in light and dark."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The samples that the example can print: ordinary ones, and those at the edges.
SAMPLES = ["crawl", "blocked", "burn", "many", "pool", "empty", "one", "hostile"]

WIDTHS = [1280, 400]

# The elements that stick out of the page and are neither cut off nor scroll in a box of their own.
STICKING_OUT = """
[...document.body.querySelectorAll('*')]
    .filter(e => !e.closest('.scroll, .unseen, .defs, .who, .what'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => e.outerHTML.slice(0, 120))
"""

# The texts whose colour is too near to that of what lies behind them: 4.5 to 1 is the AA level of WCAG.
FAINT_TEXTS = """
(() => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = channel => (channel /= 255) <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = channels(getComputedStyle(e).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const contrast = element => {
        const two = [channels(getComputedStyle(element).color), behind(element)].map(luminance);
        return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
    };
    const hasText = e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
    return [...document.body.querySelectorAll('*')]
        .filter(e => !(e instanceof SVGElement) && hasText(e) && contrast(e) < 4.5)
        .map(e => contrast(e).toFixed(2) + ' ' + e.outerHTML.slice(0, 120));
})()
"""

# Boxes that scroll and cannot be reached by the keyboard.
UNREACHABLE = """
[...document.querySelectorAll('.scroll')]
    .filter(e => e.tabIndex !== 0 || !e.getAttribute('aria-label')).map(e => e.outerHTML.slice(0, 120))
"""

NAMELESS_PICTURES = """
[...document.querySelectorAll('[role=img]')]
    .filter(e => !e.getAttribute('aria-label')).map(e => e.outerHTML.slice(0, 120))
"""


@pytest.fixture(scope="session")
def example() -> Path:
    """The program that prints sample reports."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("the samples are built with cargo, which is not here")
    command = [cargo, "build", "-p", "tercet-report", "--example", "sample_report", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    [program] = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "sample_report"]
    return Path(program)


@pytest.fixture(params=SAMPLES)
def page(request: pytest.FixtureRequest, example: Path, tmp_path: Path) -> Path:
    """A report in a file."""
    file = tmp_path / f"{request.param}.html"
    with file.open("wb") as output:
        subprocess.run([example, request.param], stdout=output, check=True, timeout=60)
    return file


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_quiet_and_readable(browser: Any, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark=dark)
    browser.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.requests() == []
    assert browser.complaints() == []
    assert browser.ask(STICKING_OUT) == []
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    assert browser.ask(FAINT_TEXTS) == []
    assert browser.ask(UNREACHABLE) == []
    assert browser.ask(NAMELESS_PICTURES) == []
    assert len(browser.picture()) > 5_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", ["crawl"], indirect=True)
def test_page_shows_what_the_report_says(browser: Any, page: Path) -> None:
    browser.open(page, 1280)
    text = browser.ask("document.body.innerText")
    for words in ["more-threads", "waiting for the network", "58.0%", "crawl.py:41", "fetch", "Predicted speed-up"]:
        assert words in text, words
    assert browser.ask("document.querySelectorAll('.lanes .lane .track').length") >= 6
    assert browser.ask("document.querySelectorAll('.plot path.curve').length") == 3
    assert browser.ask("document.querySelectorAll('.bar .fill').length") == 7
    assert browser.ask("document.querySelector('.lanes path.owned').getBBox().width") > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", ["hostile"], indirect=True)
def test_names_of_a_program_are_text_and_nothing_else(browser: Any, page: Path) -> None:
    browser.open(page, 400)
    assert "</script><script>alert(1)</script>" in browser.ask("document.body.innerText")
    assert browser.ask("document.scripts.length") == 0
    assert browser.ask("document.querySelectorAll('img, [onload], [onmouseover]').length") == 0
    assert browser.ask("document.querySelectorAll('body > *').length") == 4


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", ["crawl"], indirect=True)
def test_policy_keeps_even_an_injected_script_from_running(browser: Any, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    script = "<script>document.title = 'ran'</script>"
    broken.write_text(page.read_text("utf-8").replace("</main>", f"{script}</main>"), "utf-8")
    browser.open(broken, 1280)
    assert browser.ask("document.title").startswith("crawl.py")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())
