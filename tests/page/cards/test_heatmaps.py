"""Heatmaps over images: they follow the attention, and show while their button is selected."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from page.cards.images import heat_rules
from vlm.schema.findings import NUM_FINDINGS


def layers_of(rules):
    """(item, view) -> the layer as an array."""
    found = re.findall(
        r"#choose-\w+-(\d+):checked\)\S* \.heat-(\d+) \{ background-image: url\(data:image/webp;base64,([^)]+)\)", rules
    )
    return {
        (int(item), int(view)): np.asarray(Image.open(BytesIO(base64.b64decode(content))))
        for item, view, content in found
    }


def test_heatmap_is_opaque_only_where_attention_is_high():
    attention = np.zeros((NUM_FINDINGS, 1, 4, 4), dtype=np.float32)
    attention[3, 0, 3, 0] = 1
    layers = layers_of(heat_rules("finding", attention, [(512, 512)], 64))
    assert set(layers) == {(3, 0)}
    layer = layers[3, 0]
    assert layer.shape == (256, 256, 4)
    assert layer[224:, :32, 3].min() > 200
    assert layer[:160, :, 3].max() < 8  # cubic interpolation overshoots a little
    assert layer[:, 128:, 3].max() < 8


def test_each_view_gets_its_own_heatmap_in_its_own_shape():
    attention = np.zeros((2, 2, 4, 4), dtype=np.float32)
    attention[0, 0, 1, 1] = attention[1, 1, 2, 2] = 1
    layers = layers_of(heat_rules("sentence", attention, [(600, 300), (300, 600)], 64))
    assert {key: layer.shape[:2] for key, layer in layers.items()} == {(0, 0): (128, 256), (1, 1): (256, 128)}


@pytest.mark.parametrize("share", [0, 1 / 16])
def test_uniform_attention_has_no_rule(share):
    assert heat_rules("finding", np.full((1, 1, 4, 4), share, dtype=np.float32), [(64, 64)], 32) == ""


def test_rule_requires_the_finding_and_the_method():
    attention = np.zeros((1, 1, 4, 4), dtype=np.float32)
    attention[0, 0, 0, 0] = 1
    plain = heat_rules("sentence", attention, [(64, 64)], 32)
    other = heat_rules("finding", attention, [(64, 64)], 32, method="occlusion")
    assert plain.startswith("body:has(#choose-sentence-0:checked) .heat-0 {")
    assert other.startswith("body:has(#choose-finding-0:checked):has(#method-occlusion:checked) .heat-0 {")
