"""The images in a real browser: viewing tools and heatmaps."""

import pytest
from playwright.sync_api import expect

from tests.helpers.web.browser import heat_opacities, read, upload
from tests.helpers.web.server import clean_up_after_gradio, pytestmark  # noqa: F401 (work by name)
from vlm.schema.findings import NUM_FINDINGS


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


def test_occlusion_is_computed_on_request(open_page, tall_image):
    page = open_page()
    read(page, tall_image)
    expect(page.locator("#method-occlusion")).to_be_disabled()
    page.get_by_role("button", name="Compute what predictions depend on").click()
    expect(page.locator("#method-occlusion")).to_be_checked()
    page.locator("#method-attention").check()
    page.locator("#findings .name", has_text="Edema").click()
    assert heat_opacities(page) == [0.6]


def test_image_stays_visible_on_a_phone(open_page, tall_image):
    page = open_page(width=360)
    read(page, tall_image)
    page.get_by_text("No heatmap", exact=True).click()
    expect(page.locator("#images .xray")).to_be_in_viewport(ratio=0.95)
    expect(page.get_by_text("No heatmap", exact=True)).to_be_in_viewport()
