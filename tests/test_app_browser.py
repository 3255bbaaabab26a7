"""The web page in a real browser: a visitor's way through it, with every request to elsewhere recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from test_app import NUM_TOKENS, free_port, pytestmark, sweep_up_after_gradio  # noqa: F401 (the last two work by name)
from test_picture import dicom  # noqa: F401 (a fixture)

from app import AppOptions, build_app, serve
from vlm.findings import NUM_FINDINGS
from vlm.generator import ReportGenerator

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE = 60_000
"""Milliseconds: on a busy machine a browser is slow."""

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
  for (const element of document.querySelectorAll("header *, .notice, .notice *, .card *, figcaption, .primary")) {
    const text = [...element.childNodes].filter(n => n.nodeType == 3).map(n => n.textContent.trim()).join("");
    if (!text || !element.checkVisibility() || element.classList.contains("unseen")) continue;
    const [a, b] = [numbers(getComputedStyle(element).color), behind(element)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)}: ${text}`);
  }
  return poor;
}"""
"""Text of the page's own parts whose contrast to its ground is below WCAG AA's 4.5."""

OVERFLOWING = """() => [...document.querySelectorAll(".card *:not(.unseen)")]
  .filter(element => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0
    || element.getBoundingClientRect().right > element.closest(".card").getBoundingClientRect().right)
  .map(element => element.innerText)"""


class Attacked(ReportGenerator):
    """A model that has learned to write what no page may run."""

    text = "<script>hacked = 1</script><img src=x onerror='hacked = 1'> ${hacked = 1} {{hacked = 1}} {@html 'hacked'}"

    def stream(self, *arguments, **settings):
        for report in super().stream(*arguments, **settings):
            yield replace(report, report=self.text, findings=self.text, impression=self.text)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address_of(tmp_path_factory, tiny_checkpoint):
    """`address_of(ReportGenerator)`: where a page with such a generator is served."""
    pages = {}

    def start(kind):
        if kind not in pages:
            options = AppOptions(checkpoint=str(tiny_checkpoint), port=free_port(), max_new_tokens=NUM_TOKENS)
            pages[kind] = build_app(kind.from_pretrained(tiny_checkpoint), options, tmp_path_factory.mktemp("examples"))
            serve(pages[kind], options)
        return pages[kind].local_url

    yield start
    for page in pages.values():
        page.close(verbose=False)


@pytest.fixture
def visit(browser, address_of):
    """`visit(width=…, color_scheme=…)`: the page as opened by a new visitor. Fails for a request to elsewhere and
    for an error in the page's scripts."""
    contexts, elsewhere, errors = [], [], []

    def open_page(*, width=1280, color_scheme="light", kind=ReportGenerator):
        address = address_of(kind)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=color_scheme)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)

        def admit(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                elsewhere.append(route.request.url)
                route.abort()

        context.route("**/*", admit)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        expect(page.get_by_role("button", name="Write the report")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert errors == []


@pytest.fixture(scope="module")
def tall_picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "tall.png"
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (12, 4), dtype=np.uint8)).resize((200, 600)).save(path)
    return path


def upload(page, path):
    page.locator("input[type=file]").first.set_input_files(path)


def read(page, path):
    upload(page, path)
    expect(page.locator("#picture .xray")).to_be_visible()
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [aria-busy=false]")).to_be_visible()


def shown_heat(page):
    """Opacity of each heatmap that is not clear, by number of its finding."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".heat")]
          .map((layer, index) => [index, Number(getComputedStyle(layer).opacity)])
          .filter(([_, opacity]) => opacity > 0))"""
    )


def expect_heat(page, expected):
    expect(page.locator(".heat")).to_have_count(NUM_FINDINGS)
    page.wait_for_timeout(300)  # layers fade in and out
    assert shown_heat(page) == expected


def test_a_visitor_brings_a_picture_reads_its_report_and_looks_at_findings(visit, tall_picture):
    page = visit()
    expect(page.locator(".notice")).to_have_count(2)
    assert all("Not a medical device" in text for text in page.locator(".notice").all_inner_texts())

    upload(page, tall_picture)
    expect(page.locator("#picture .xray")).to_be_visible()
    assert page.locator("#findings label").count() == 0

    page.get_by_label("Indication").fill("cough")
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [aria-busy=false]")).to_be_visible()
    assert page.locator("#report .text").first.inner_text().strip()
    expect(page.locator("#findings label")).to_have_count(NUM_FINDINGS + 1)

    box = page.locator("#picture .xray").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(3, rel=0.02)
    assert box["height"] <= 900

    page.get_by_text("Edema", exact=True).click()
    expect_heat(page, {"4": 0.6})
    page.locator("input[type=range]").fill("20")
    expect_heat(page, {"4": 0.2})
    page.locator("#choose-none").check()
    expect_heat(page, {})
    page.locator("#findings input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    second = page.locator("#findings input").nth(1).get_attribute("id").removeprefix("choose-")
    expect_heat(page, {second: 0.2})


def test_an_example_is_read_at_a_click(visit):
    page = visit()
    page.locator("#examples button").nth(2).click()
    expect(page.locator("#report [aria-busy=false]")).to_be_visible()
    assert "made-up-3.png" in page.locator("figcaption").inner_text()
    expect(page.get_by_label("Indication")).not_to_have_value("")
    expect(page.locator("#findings label")).to_have_count(NUM_FINDINGS + 1)


def test_dicom_is_read_and_its_view_position_shown(visit, dicom):  # noqa: F811
    page = visit()
    read(page, dicom(ViewPosition="AP"))
    assert "frontal AP" in page.locator("figcaption").inner_text()


def test_a_refused_file_is_explained_and_the_page_goes_on(visit, tall_picture, tmp_path):
    notes = tmp_path / "notes.png"
    notes.write_text("no picture")
    page = visit()
    upload(page, notes)
    alert = page.locator("#report [role=alert]")
    expect(alert).to_contain_text("notes.png: its content is none of PNG, JPEG, WebP, TIFF and DICOM")
    page.get_by_role("button", name="Write the report").click()
    expect(alert).to_contain_text("notes.png: its content is none of PNG")
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
    expect(alert).to_have_count(0)
    read(page, tall_picture)
    expect(alert).to_have_count(0)


def test_what_a_model_writes_is_text_and_never_runs(visit, tall_picture):
    page = visit(kind=Attacked)
    read(page, tall_picture)
    assert page.locator("#report .text").all_inner_texts() == [Attacked.text] * 2
    page.wait_for_timeout(300)
    assert page.evaluate("typeof hacked") == "undefined"


@pytest.mark.parametrize("width", [360, 1024])
def test_nothing_overflows(visit, tall_picture, width):
    page = visit(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    read(page, tall_picture)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []


def test_on_a_phone_the_picture_stays_in_sight(visit, tall_picture):
    page = visit(width=360)
    read(page, tall_picture)
    page.get_by_text("No heatmap", exact=True).click()
    expect(page.locator("#picture .xray")).to_be_in_viewport(ratio=0.95)
    expect(page.get_by_text("No heatmap", exact=True)).to_be_in_viewport()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, tall_picture, color_scheme):
    page = visit(color_scheme=color_scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(", "))) < 384) == (color_scheme == "dark")
    assert page.evaluate(CONTRASTS) == []
    read(page, tall_picture)
    assert page.evaluate(CONTRASTS) == []
