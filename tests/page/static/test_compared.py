"""A study beside its prior study in a real browser: linked zoom, labels, changes, and WCAG AA."""

import pytest
from playwright.sync_api import expect

from tests.helpers.web.browser import AXE, VIOLATIONS, compare, heat_opacities
from tests.helpers.web.server import clean_up_after_gradio, pytestmark  # noqa: F401 (work by name)


def shown_parts(page):
    """Zoom of each image, and the center of its pane as a share of its size."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".view")].map((view) => {
          const box = view.querySelector(".pane").getBoundingClientRect();
          const { a, e, f } = new DOMMatrix(view.querySelector(".zoomed").style.transform);
          return [a, (box.width / 2 - e) / (a * box.width), (box.height / 2 - f) / (a * box.height)]
            .map((value) => Number(value.toFixed(3)));
        })"""
    )


def test_both_studies_are_side_by_side_and_zoom_together(open_page, tall_image, square_image, prior_checkpoint):
    page = open_page(checkpoint=prior_checkpoint)
    compare(page, tall_image, square_image)
    labels = page.locator(".study-label")
    expect(labels).to_have_text(["current", "prior"])
    left, right = (label.bounding_box() for label in labels.all())
    assert left["y"] == right["y"]
    assert left["x"] < right["x"]
    expect(page.locator(".changes h3")).to_contain_text("Change since the prior study")
    page.locator("#findings .name", has_text="Edema").click()
    assert heat_opacities(page) == [0.6]  # of the current study only

    panes = page.locator(".pane")
    panes.first.focus()
    for key in ("+", "+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    first, second = shown_parts(page)
    assert first == second
    assert first[0] == pytest.approx(2.197)
    assert first[1:] != [0.5, 0.5]

    page.get_by_label("Zoom and move both studies together").uncheck()
    panes.nth(1).focus()
    page.keyboard.press("0")
    after, reset = shown_parts(page)
    assert (after, reset) == (first, [1, 0.5, 0.5])
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    expect(page.get_by_label("Zoom and move both studies together")).not_to_be_checked()


def test_slot_is_hidden_without_support(open_page):
    page = open_page()
    assert page.get_by_text("Prior study (optional)").count() == 0
    page.locator("#study-tab button", has_text="Settings").click()
    expect(page.get_by_text("this checkpoint was trained without prior studies")).to_be_visible()


@pytest.mark.parametrize(("color_scheme", "width"), [("light", 1280), ("dark", 360)])
def test_compared_studies_pass_wcag_aa(open_page, tall_image, square_image, prior_checkpoint, color_scheme, width):
    page = open_page(color_scheme=color_scheme, width=width, checkpoint=prior_checkpoint)
    compare(page, tall_image, square_image)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if not AXE.is_file():
        pytest.skip(f"axe-core is not at {AXE}; .ci/run puts it there")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    page.wait_for_timeout(300)
    assert page.evaluate(VIOLATIONS) == []
