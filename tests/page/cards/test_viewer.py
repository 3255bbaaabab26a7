"""Images on the page: embedded, with alt texts, and with tools that can be used by keyboard."""

import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from page.cards.images import image_cards
from tests.helpers.html import IMAGE


def test_image_is_embedded_with_its_view_in_the_alt_text():
    html = image_cards([IMAGE])
    content = re.search('src="data:image/webp;base64,([^"]+)"', html)[1]
    shown = Image.open(BytesIO(base64.b64decode(content)))
    assert shown.size == (40, 30)
    assert np.asarray(shown.convert("L")) == pytest.approx(90, abs=2)
    assert 'alt="Chest X-ray, frontal AP: chest.png"' in html


def test_all_views_are_shown_with_layers_for_their_heatmaps():
    html = image_cards([IMAGE, replace(IMAGE, view_position="LATERAL")])
    assert html.count('class="xray"') == 2
    assert '<div class="heat heat-0">' in html
    assert '<div class="heat heat-1">' in html
    assert len(set(re.findall(r'filter id="(window-\d)"', html))) == 2
    assert len(set(re.findall(r'data-key="([^"]+)"', html))) == 2


def test_key_depends_on_the_image_only():
    [first], [again], [other] = (
        re.findall(r'data-key="([^"]+)"', image_cards([image]))
        for image in (IMAGE, replace(IMAGE, view_position="PA"), replace(IMAGE, image=Image.new("L", (40, 30))))
    )
    assert first == again != other


def test_every_tool_is_a_labeled_button():
    html = image_cards([IMAGE])
    buttons = re.findall(r"<button [^>]+>", html)
    assert len(buttons) == 6
    assert all('type="button"' in button and "aria-label=" in button for button in buttons)
    assert 'tabindex="0" role="group"' in html


def test_placeholder_is_shown_without_an_image():
    assert "will be shown here" in image_cards([])
