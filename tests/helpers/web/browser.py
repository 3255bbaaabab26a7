"""The running page in a real browser, with what its tests do in it. Every request to another server is recorded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from tests.helpers.web.server import NUM_TOKENS, free_port

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
TIMEOUT = 60_000
"""Milliseconds; a browser is slow on a busy machine."""


AXE = Path(__file__).parents[3] / ".venv/node_modules/axe-core/axe.min.js"
"""Accessibility checks; .ci/run installs them."""

VIOLATIONS = """async () => {
  const found = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
    `${id}: ${html.slice(0, 200)} ${failureSummary.slice(0, 200)}`));
}"""
"""All violations of WCAG 2.1 AA that axe finds."""


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"the page's browser tests need {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def corrections(tmp_path_factory):
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def address_of(tmp_path_factory, tiny_checkpoint, corrections):
    """`address_of(ReportGenerator)`: URL of a page with this kind of generator and, if it is named, this checkpoint."""
    from app import AppOptions, build_app, serve

    pages = {}

    def start(kind, checkpoint=None):
        checkpoint = checkpoint or tiny_checkpoint
        if (kind, checkpoint) not in pages:
            options = AppOptions(
                checkpoint=str(checkpoint),
                port=free_port(),
                corrections=corrections,
                max_new_tokens=NUM_TOKENS,
            )
            page = build_app(kind.from_pretrained(checkpoint), options, tmp_path_factory.mktemp("examples"))
            pages[kind, checkpoint] = page
            serve(page, options)
        return pages[kind, checkpoint].local_url

    yield start
    for page in pages.values():
        page.close(verbose=False)


@pytest.fixture
def open_page(browser, address_of):
    """`open_page(width=…, color_scheme=…)`: the page in a new session. Fails after a request to another server, or
    an error in a script or on the console, such as a violation of the Content-Security-Policy."""
    contexts, foreign, errors = [], [], []

    def start(*, width=1280, color_scheme="light", kind=None, checkpoint=None):
        from vlm.generator import ReportGenerator

        address = address_of(kind or ReportGenerator, checkpoint)
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
        page.on("console", lambda message: errors.append(message.text) if _is_error(message) else None)
        page.goto(address)
        expect(page.get_by_role("button", name="Write the report")).to_be_visible()
        expect(page.get_by_text("Loading...")).to_have_count(0)
        return page

    yield start
    for context in contexts:
        context.close()
    assert foreign == []
    assert errors == []


def _is_error(message) -> bool:
    """Gradio answers a request to cancel an event that ends at the same time with an error, which changes nothing."""
    return message.type == "error" and not message.location["url"].endswith("/cancel")


@pytest.fixture(scope="module")
def tall_image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "tall.png"
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (12, 4), dtype=np.uint8)).resize((200, 600)).save(path)
    return path


@pytest.fixture(scope="module")
def square_image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "square.png"
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).resize((300, 300)).save(path)
    return path


def upload(page, paths):
    page.locator("input[type=file]").first.set_input_files(list(paths))


def read(page, *paths):
    upload(page, paths)
    expect(page.locator("#images .xray")).to_have_count(len(paths))
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()


def compare(page, now, before):
    """Upload an image of a study and one of its prior study, and write the report."""
    upload(page, [now])
    expect(page.locator("#images .xray")).to_have_count(1)
    page.get_by_role("button", name="Prior study (optional)").click()
    page.locator("#prior input[type=file]").set_input_files([before])
    expect(page.locator("#images .xray")).to_have_count(2)
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
