"""The page of the audit in a real browser: nothing is fetched, nothing overflows, and every image is shown."""

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from data.audit.page import render_audit
from tests.helpers.audited import audited, phantom, row, write

CHROMIUM = Path("/usr/bin/chromium")
if not CHROMIUM.exists():
    pytest.skip(f"the page's browser tests need {CHROMIUM}", allow_module_level=True)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit_page")
    word = "pneumonoultramicroscopicsilicovolcanoconiosis" * 3
    train = [row(number, phantom(number), study_id=f"{word}{number}") for number in range(4)]
    test = [row(9, phantom(0), subject_id="patient-1", source=word)]
    path = folder / "audit.html"
    document = audited(write(folder / "set", train=train, test=test))
    path.write_text(render_audit(document, num_samples=5, seed=0), encoding="utf-8")
    return path


def test_page_opens_offline_fits_every_width_and_shows_every_image(page_file):
    requests, complaints = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for width, scheme in ((320, "dark"), (390, "light"), (1280, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("request", lambda request: requests.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.goto(page_file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            images = page.locator("img")
            assert images.count() == 2 + 5
            assert images.evaluate_all("all => all.every(one => one.complete && one.naturalWidth > 50)")
            assert page.locator("h1").is_visible()
            page.close()
        browser.close()
    assert [url for url in requests if not url.startswith("data:") and url != page_file.as_uri()] == []
    assert complaints == []
