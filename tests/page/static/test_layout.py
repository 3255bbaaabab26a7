"""The layout of the page in a real browser: no overflow, and WCAG AA."""

import pytest

from tests.helpers.web.browser import AXE, VIOLATIONS, read
from tests.helpers.web.server import clean_up_after_gradio, pytestmark  # noqa: F401 (work by name)

OVERFLOWING = """() => [...document.querySelectorAll(".card *:not(.visually-hidden)")]
  .filter(element => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0
    || element.getBoundingClientRect().right > element.closest(".card").getBoundingClientRect().right)
  .map(element => element.innerText)"""


@pytest.mark.parametrize("width", [360, 1024])
def test_no_element_overflows(open_page, tall_image, width):
    page = open_page(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    read(page, tall_image)
    for name in ("Correct this report", "Download"):
        page.get_by_role("button", name=name).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []


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
