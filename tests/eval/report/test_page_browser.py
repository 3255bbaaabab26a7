"""The page in a real browser, opened from disk: no requests, no overflow, enough contrast."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from eval.report.page import render_page
from eval.report.selection import BEST, WORST
from eval.report.study import HeatPanel, page_study
from tests.helpers.evaluations import EVIL, make_document, make_predictions

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

if not CHROMIUM.exists():
    pytest.skip(f"the page's browser tests need {CHROMIUM}", allow_module_level=True)

CONTRASTS = """() => {
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = color => color.match(/[0-9.]+/g).map(Number);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = numbers(getComputedStyle(element).backgroundColor);
      if (color.length == 3 || color[3] == 1) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("main *")) {
    const text = [...element.childNodes].filter(n => n.nodeType == 3).map(n => n.textContent.trim()).join("");
    if (!text || !element.checkVisibility() || ["title", "desc"].includes(element.localName)) continue;
    const style = getComputedStyle(element);
    const ink = element.localName == "text" ? style.fill : style.color;
    const [a, b] = [numbers(ink), behind(element)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)}: ${text}`);
  }
  return poor;
}"""
"""Text with a contrast below 4.5, the minimum of WCAG AA."""

OUTSIDE = """() => [...document.querySelectorAll("main *")]
  .filter(element => !element.closest(".scroll, svg, title") && element.checkVisibility())
  .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
  .map(element => element.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    predictions = make_predictions()
    word = "pneumonoultramicroscopicsilicovolcanoconiosis" * 3
    predictions[1] = dataclasses.replace(predictions[1], report=f"Findings: {EVIL} edema {word}.", study_id=word)
    document = make_document(
        predictions, checkpoint=f"runs/{word}", groups={"view": ["PA"] * 6 + ["AP and LATERAL"] * 6}
    )
    for number in range(8):
        document["systems"][f"another control {number}"] = document["systems"]["shuffled images"]
    images = [Image.new("L", (300, 360), 90), Image.new("L", (300, 360), 40)]
    panels = [
        HeatPanel(finding=finding, image=Image.new("RGB", (300, 360), "orange"), boxes=((0.1, 0.1, 0.5, 0.5),))
        for finding in (4, 9)
    ]
    studies = [
        page_study(images, one, heat_panels=panels, group=group, reason="F1 of its findings 0.00")
        for one, group in zip(predictions, (WORST, WORST, BEST), strict=False)
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(document, [*studies, page_study([], predictions[3])]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, report):
    """`visit(width=…, color_scheme=…)` opens the page from disk; any request, error or warning fails."""
    contexts, requests, messages = [], [], []

    def open_page(*, width=1280, color_scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=color_scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith("data:") and url != report.as_uri()] == []
    assert messages == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(visit, width):
    page = visit(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OUTSIDE) == []


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_text_has_enough_contrast(visit, color_scheme):
    page = visit(color_scheme=color_scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(", "))) < 384) == (
        color_scheme == "dark"
    )
    assert page.evaluate(CONTRASTS) == []


def test_verdict_and_its_chart_are_visible_without_scrolling(visit):
    page = visit()
    expect(page.locator("h1")).to_be_in_viewport(ratio=1)
    expect(page.locator(".verdict svg.points").first).to_be_in_viewport(ratio=1)


def test_points_are_ordered_by_value(visit):
    page = visit()
    rows = page.locator(".verdict .forest .row:not(.scale)")
    assert rows.count() == 10
    places = rows.locator("circle").evaluate_all("circles => circles.map(c => c.getBoundingClientRect().x)")
    assert places[0] > places[1] + 50


def test_radio_buttons_select_heatmaps_without_script(visit):
    page = visit()
    study = page.locator(".study").first
    expect(study.locator("figure.plain")).to_have_count(2)
    expect(study.locator("figure.plain").first).to_be_visible()
    expect(study.locator("figure.heat-2")).to_be_hidden()
    study.get_by_label("Pleural Effusion").check()
    expect(study.locator("figure.heat-2")).to_be_visible()
    expect(study.locator("figure.heat-1")).to_be_hidden()
    expect(study.locator("figure.plain").first).to_be_hidden()
    expect(page.locator(".study").nth(1).locator("figure.plain").first).to_be_visible()
    study.get_by_label("none").check()
    expect(study.locator("figure.plain").first).to_be_visible()


def test_box_is_drawn_on_its_heatmap(visit):
    page = visit()
    study = page.locator(".study").first
    study.get_by_label("Edema").check()
    image, box = (study.locator(f".heat-1 {name}").bounding_box() for name in ("img", "rect"))
    assert box["x"] - image["x"] == pytest.approx(0.1 * image["width"], abs=3)
    assert box["width"] == pytest.approx(0.4 * image["width"], abs=4)
    assert box["height"] == pytest.approx(0.4 * image["height"], abs=4)


def test_printed_page_shows_every_heatmap_without_overflow(visit):
    page = visit(width=703, color_scheme="dark")  # A4 less its margins
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heatmaps = page.locator("figure.heat")
    assert heatmaps.count() == 6
    assert all(heatmaps.nth(number).is_visible() for number in range(6))
    assert page.evaluate("document.documentElement.scrollWidth") == 703
    assert page.evaluate(CONTRASTS) == []


def test_page_prints(visit):
    assert visit().pdf(format="A4", print_background=True).startswith(b"%PDF")


def test_every_chart_has_a_title(visit):
    page = visit()
    charts = page.locator("svg[role=img]")
    assert charts.count() > 20
    assert charts.evaluate_all("charts => charts.filter(c => !c.querySelector('title')?.textContent).length") == 0


def test_markup_in_a_report_is_escaped(visit):
    page = visit()
    assert page.evaluate("document.scripts.length") == 1
    assert EVIL in page.locator("dd.quote").first.inner_text()


def shown(page):
    """Ids of the studies that are shown, in the order of the page."""
    return page.locator(".study:visible header h4").all_inner_texts()


def test_reader_filters_studies_by_error_and_sorts_them_by_score_with_the_keyboard(visit):
    page = visit()
    everything = shown(page)
    assert len(everything) == 4
    scores = page.locator(".study").evaluate_all("all => all.map(one => Number(one.dataset.score))")
    page.get_by_role("combobox", name="Sort by", exact=True).focus()
    page.keyboard.type("report error score, lowest")
    assert shown(page) == [everything[number] for number in sorted(range(4), key=lambda number: scores[number])]
    assert page.locator("h3.group:visible").count() == 0
    page.get_by_role("combobox", name="Show", exact=True).focus()
    page.keyboard.type("false finding")
    chosen = shown(page)
    assert 0 < len(chosen) < 4
    assert page.locator(".study:visible").evaluate_all(
        "all => all.every(one => one.querySelector('li.chosen').textContent.startsWith('false finding: '))"
    )
    expect(page.locator(".study-tools output")).to_have_text(f"{len(chosen)} of 4 studies shown")
    page.get_by_role("combobox", name="Sort by", exact=True).select_option("group")
    page.get_by_role("combobox", name="Show", exact=True).select_option("")
    assert shown(page) == everything
    assert page.locator("h3.group:visible").count() == 2


def test_heading_of_a_group_without_a_shown_study_is_hidden(visit):
    page = visit()
    page.get_by_role("combobox", name="Show", exact=True).select_option("missing finding")
    expect(page.locator(".study:visible")).to_have_count(1)
    assert page.locator("h3.group:visible").all_inner_texts() == ["Worst"]
