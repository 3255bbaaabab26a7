"""Images on the page: inside it, with words for who cannot see them, and with tools that keyboards reach."""

import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from page.cards.images import figures
from tests.helpers.html import IMAGE


def test_the_image_is_inside_the_page_with_its_view_said():
    html = figures([IMAGE])
    content = re.search('src="data:image/webp;base64,([^"]+)"', html)[1]
    shown = Image.open(BytesIO(base64.b64decode(content)))
    assert shown.size == (40, 30)
    assert np.asarray(shown.convert("L")) == pytest.approx(90, abs=2)
    assert 'alt="Chest X-ray, frontal AP: chest.png"' in html


def test_all_views_stand_side_by_side_with_places_for_their_heat():
    html = figures([IMAGE, replace(IMAGE, view_position="LATERAL")])
    assert html.count('class="xray"') == 2
    assert '<div class="heat heat-0">' in html
    assert '<div class="heat heat-1">' in html
    assert len(set(re.findall(r'filter id="(window-\d)"', html))) == 2
    assert len(set(re.findall(r'data-key="([^"]+)"', html))) == 2


def test_the_same_image_keeps_its_key_and_another_has_another():
    [first], [again], [other] = (
        re.findall(r'data-key="([^"]+)"', figures([image]))
        for image in (IMAGE, replace(IMAGE, view_position="PA"), replace(IMAGE, image=Image.new("L", (40, 30))))
    )
    assert first == again != other


def test_every_tool_is_a_button_with_a_name():
    html = figures([IMAGE])
    buttons = re.findall(r"<button [^>]+>", html)
    assert len(buttons) == 6
    assert all('type="button"' in button and "aria-label=" in button for button in buttons)
    assert 'tabindex="0" role="group"' in html


def test_without_an_image_it_says_where_it_will_be():
    assert "will be shown here" in figures([])
