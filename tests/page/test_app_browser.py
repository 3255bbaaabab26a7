"""The web page in a real browser; every request to another server is recorded."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from app import AppOptions, build_app, serve
from data.images.read import read_image
from tests.helpers.corrections import corrections_of
from tests.helpers.web_server import NUM_TOKENS, clean_up_after_gradio, free_port, pytestmark  # noqa: F401 (the last two work by name)
from vlm.generator import ReportGenerator
from vlm.schema.findings import NUM_FINDINGS

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / ".venv/node_modules/axe-core/axe.min.js"
"""Accessibility checks; .ci/run installs them."""
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
TIMEOUT = 60_000
"""Milliseconds; a browser is slow on a busy machine."""

if not CHROMIUM.exists():
    pytest.skip(f"the page's browser tests need {CHROMIUM}", allow_module_level=True)

VIOLATIONS = """async () => {
  const found = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
    `${id}: ${html.slice(0, 200)} ${failureSummary.slice(0, 200)}`));
}"""
"""All violations of WCAG 2.1 AA that axe finds."""

OVERFLOWING = """() => [...document.querySelectorAll(".card *:not(.visually-hidden)")]
  .filter(element => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0
    || element.getBoundingClientRect().right > element.closest(".card").getBoundingClientRect().right)
  .map(element => element.innerText)"""


class Attacker(ReportGenerator):
    """A model that writes scripts."""

    text = "<script>hacked = 1</script><img src=x onerror='hacked = 1'> ${hacked = 1} {{hacked = 1}} {@html 'hacked'}"

    def stream(self, *arguments, **settings):
        for report in super().stream(*arguments, **settings):
            yield replace(report, report=self.text, findings=self.text, impression=self.text)


class Slow(ReportGenerator):
    """A slow model that counts its runs."""

    num_started = 0

    def stream(self, *arguments, **settings):
        Slow.num_started += 1
        for report in super().stream(*arguments, **settings):
            time.sleep(0.3)
            yield report


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def corrections(tmp_path_factory):
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def address_of(tmp_path_factory, tiny_checkpoint, corrections):
    """`address_of(ReportGenerator)`: URL of a page with this kind of generator."""
    pages = {}

    def start(kind):
        if kind not in pages:
            options = AppOptions(
                checkpoint=str(tiny_checkpoint),
                port=free_port(),
                corrections=corrections,
                max_new_tokens=NUM_TOKENS,
            )
            pages[kind] = build_app(kind.from_pretrained(tiny_checkpoint), options, tmp_path_factory.mktemp("examples"))
            serve(pages[kind], options)
        return pages[kind].local_url

    yield start
    for page in pages.values():
        page.close(verbose=False)


@pytest.fixture
def open_page(browser, address_of):
    """`open_page(width=…, color_scheme=…)`: the page in a new session. Fails after a request to another server or a
    script error."""
    contexts, foreign, errors = [], [], []

    def start(*, width=1280, color_scheme="light", kind=ReportGenerator):
        address = address_of(kind)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=color_scheme)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        expect.set_options(timeout=TIMEOUT)

        def admit(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                foreign.append(route.request.url)
                route.abort()

        context.route("**/*", admit)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        expect(page.get_by_role("button", name="Write the report")).to_be_visible()
        expect(page.get_by_text("Loading...")).to_have_count(0)
        return page

    yield start
    for context in contexts:
        context.close()
    assert foreign == []
    assert errors == []


@pytest.fixture(scope="module")
def tall_image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "tall.png"
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (12, 4), dtype=np.uint8)).resize((200, 600)).save(path)
    return path


def upload(page, paths):
    page.locator("input[type=file]").first.set_input_files(list(paths))


def read(page, *paths):
    upload(page, paths)
    expect(page.locator("#images .xray")).to_have_count(len(paths))
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()


def heat_opacities(page):
    """Opacity of the heatmap of each view; 0 without one."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".heat")].map((heat) => {
          const style = getComputedStyle(heat);
          return style.backgroundImage == "none" ? 0 : Number(style.opacity);
        })"""
    )


def viewer_state(page):
    """Transform of the first image, filter of its gray values, and the status text."""
    return page.evaluate(
        """() => [document.querySelector(".zoomed").style.transform, document.querySelector(".xray").style.filter,
          document.querySelector(".ramp").getAttribute("slope"), document.querySelector(".view-status").textContent]"""
    )


def test_user_uploads_two_views_and_browses_findings_and_sentences(open_page, tall_image):
    page = open_page()
    notices = page.locator(".notice")
    expect(notices).to_have_count(2)
    assert all("Not a medical device" in text for text in notices.all_inner_texts())

    upload(page, [tall_image, tall_image])
    expect(page.locator("#images .xray")).to_have_count(2)
    expect(page.locator(".view-choice:visible")).to_have_count(2)
    assert page.locator("#findings label").count() == 0
    page.locator(".view-choice").nth(1).get_by_label("lateral").check()

    page.get_by_label("Indication").fill("cough")
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    expect(page.locator("#findings label")).to_have_count(NUM_FINDINGS + 1)
    assert "lateral" in page.locator("figcaption").nth(1).inner_text()

    box = page.locator("#images .xray").first.bounding_box()
    assert box["height"] / box["width"] == pytest.approx(3, rel=0.02)
    assert box["height"] <= 900

    page.locator("#findings .name", has_text="Edema").click()
    assert heat_opacities(page) == [0.6, 0.6]
    page.locator("input[type=range][aria-label*=pacity], .gradio-slider input[type=range]").last.fill("20")
    assert heat_opacities(page) == [0.2, 0.2]
    page.locator("#choose-none").check()
    assert heat_opacities(page) == [0, 0]
    page.locator(".sentence").first.click()
    assert max(heat_opacities(page)) == 0.2
    page.locator("#findings input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert page.locator("#findings input").nth(1).is_checked()


def test_viewer_zooms_pans_and_windows_by_mouse_buttons_and_keys(open_page, tall_image):
    page = open_page()
    upload(page, [tall_image])
    pane = page.locator(".pane")
    expect(pane).to_be_visible()
    assert viewer_state(page) == ["translate(0px, 0px) scale(1)", "", "1", "100%"]

    page.get_by_role("button", name="Zoom in").click()
    transform, _, _, said = viewer_state(page)
    assert "scale(1.3)" in transform
    assert said == "130%"
    box = pane.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 20, y - 30)
    page.mouse.up()
    assert viewer_state(page)[0] != transform
    page.mouse.wheel(0, -300)
    expect(page.locator(".view-status")).to_have_text("260%")

    pane.focus()
    page.keyboard.press("0")
    page.keyboard.press("i")
    _, filtered, slope, said = viewer_state(page)
    assert "#window-0" in filtered
    assert (slope, said) == ("-1", "100% · level 50, width 100, inverted")
    page.get_by_role("button", name="Reset").click()
    page.locator(".window summary").click()
    page.get_by_role("slider", name="Width").fill("50")
    page.get_by_role("slider", name="Level").fill("40")
    assert viewer_state(page)[2:] == ["2", "100% · level 40, width 50"]
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    assert viewer_state(page)[2:] == ["2", "100% · level 40, width 50"]  # reading keeps the viewer state


def test_click_on_an_example_writes_its_report(open_page):
    page = open_page()
    page.locator("#examples button").nth(2).click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    assert "synthetic-3.png" in page.locator("figcaption").inner_text()
    expect(page.get_by_label("Indication")).not_to_have_value("")
    expect(page.locator("#findings label")).to_have_count(NUM_FINDINGS + 1)


def test_view_position_of_a_dicom_file_is_shown(open_page, dicom):
    page = open_page()
    read(page, dicom(ViewPosition="AP"))
    assert "frontal AP" in page.locator("figcaption").inner_text()


def test_image_with_a_warning_is_read_only_on_request(open_page, dicom):
    page = open_page()
    upload(page, [dicom(BodyPartExamined="KNEE")])
    expect(page.locator("#images .xray")).to_be_visible()
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#image-warnings [role=alert]")).to_contain_text("BodyPartExamined KNEE")
    assert page.locator("#findings label").count() == 0
    page.get_by_role("button", name="Write it anyway").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    expect(page.locator("#image-warnings [role=alert]")).to_contain_text("You requested the report anyway")


def test_occlusion_is_computed_on_request(open_page, tall_image):
    page = open_page()
    read(page, tall_image)
    expect(page.locator("#method-occlusion")).to_be_disabled()
    page.get_by_role("button", name="Compute what predictions depend on").click()
    expect(page.locator("#method-occlusion")).to_be_checked()
    page.locator("#method-attention").check()
    page.locator("#findings .name", has_text="Edema").click()
    assert heat_opacities(page) == [0.6]


def test_report_is_corrected_and_downloaded(open_page, tall_image, corrections):
    page = open_page()
    read(page, tall_image)
    page.get_by_role("button", name="Correct this report").click()
    first = page.locator("#correction textarea").first
    first.fill("The heart is enlarged.")
    page.get_by_role("button", name="Add a sentence to impression").click()
    page.keyboard.type("Cardiomegaly.")
    page.get_by_role("button", name="Delete this sentence").first.focus()
    page.locator("select[data-finding=Edema]").select_option("absent")
    page.get_by_label("Your name").fill("Dr A")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.get_by_role("status").filter(has_text="The correction is saved.")).to_be_visible()
    [saved] = corrections_of(corrections, [read_image(tall_image)])
    assert saved.correction.findings.startswith("The heart is enlarged.")
    assert saved.correction.impression.endswith("Cardiomegaly.")
    assert saved.correction.reader == "Dr A"

    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Text", exact=True).click()
    content = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename.endswith(".txt")
    assert "Preliminary" in content
    assert "tall.png" not in content


def test_rejected_file_is_explained_and_the_page_continues(open_page, tall_image, tmp_path):
    notes = tmp_path / "<b>notes.png"
    notes.write_text("no image")
    page = open_page()
    upload(page, [notes])
    alert = page.locator("#report [role=alert]")
    expect(alert).to_contain_text("notes.png: its content is none of PNG, JPEG, WebP, TIFF and DICOM")
    assert alert.locator("b").count() == 0
    page.get_by_role("button", name="Write the report").click()
    expect(alert).to_contain_text("No image yet")
    read(page, tall_image)
    expect(alert).to_have_count(0)
    page.get_by_role("button", name="New study").click()
    expect(page.locator("#images .xray")).to_have_count(0)
    expect(page.locator("#findings label")).to_have_count(0)


def test_model_output_is_escaped_and_never_runs(open_page, tall_image):
    page = open_page(kind=Attacker)
    upload(page, [tall_image])
    expect(page.locator("#images .xray")).to_be_visible()
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    assert "<script>hacked = 1</script>" in page.locator("#report").inner_text()
    page.wait_for_timeout(300)
    assert page.evaluate("typeof hacked") == "undefined"


def test_second_session_sees_nothing_of_the_first(open_page, tall_image):
    first, second = open_page(), open_page()
    read(first, tall_image)
    second.reload()
    expect(second.get_by_role("button", name="Write the report")).to_be_visible()
    second.get_by_role("button", name="Write the report").click()
    expect(second.locator("#report [role=alert]")).to_contain_text("No image yet")
    assert second.locator("#images .xray").count() == 0


def test_queue_position_is_shown_and_a_closed_browser_leaves_the_queue(open_page, tall_image):
    pages = [open_page(kind=Slow) for _ in range(3)]
    for page in pages:
        upload(page, [tall_image])
        expect(page.locator("#images .xray")).to_be_visible()
    first, second, third = pages
    first.get_by_role("button", name="Write the report").click()
    expect(first.locator("#report [aria-busy=true]")).to_be_visible()
    for page in (second, third):
        page.get_by_role("button", name="Write the report").click()
        expect(page.get_by_text("queue: ")).to_be_visible()
    assert "queue: 2/2" in third.get_by_text("queue: ").inner_text()
    assert Slow.num_started == 1
    second.context.close()
    first.context.close()
    expect(third.locator("#report [aria-busy=true]")).to_be_visible()
    assert Slow.num_started == 2


@pytest.mark.parametrize("width", [360, 1024])
def test_no_element_overflows(open_page, tall_image, width):
    page = open_page(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    read(page, tall_image)
    for name in ("Correct this report", "Download"):
        page.get_by_role("button", name=name).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []


def test_image_stays_visible_on_a_phone(open_page, tall_image):
    page = open_page(width=360)
    read(page, tall_image)
    page.get_by_text("No heatmap", exact=True).click()
    expect(page.locator("#images .xray")).to_be_in_viewport(ratio=0.95)
    expect(page.get_by_text("No heatmap", exact=True)).to_be_in_viewport()


@pytest.mark.parametrize(("color_scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_page_passes_wcag_aa(open_page, tall_image, color_scheme, width):
    if not AXE.is_file():
        pytest.skip(f"axe-core is not at {AXE}; .ci/run puts it there")
    page = open_page(color_scheme=color_scheme, width=width)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(", "))) < 384) == (color_scheme == "dark")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(VIOLATIONS) == []
    read(page, tall_image)
    for name in ("Correct this report", "Download"):
        page.get_by_role("button", name=name).click()
    page.locator(".model-card summary").click()
    page.wait_for_timeout(300)
    assert page.evaluate(VIOLATIONS) == []
    page.get_by_role("tab", name="Worklist").click()
    page.wait_for_timeout(300)
    assert page.evaluate(VIOLATIONS) == []
