"""Occlusion: covering what a finding depends on takes from its probability, and nothing else does."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vlm.explain.occlusion import BATCH, STEPS, occlude, occlusion_shares
from vlm.generator import ReportGenerator
from vlm.schema.findings import NUM_FINDINGS


class BrightSpot(ReportGenerator):
    """Believes in finding 3 as far as the upper left corner of the second view is bright, and in nothing else."""

    def __init__(self):
        self.config = SimpleNamespace(image=SimpleNamespace(size=48))

    def classify(self, studies, *, view_positions):
        assert all(len(positions) == 2 for positions in view_positions)
        assert len(studies) <= BATCH
        brightness = [np.asarray(views[1])[:8, :8].mean() / 255 for views in studies]
        return [tuple(bright if index == 3 else 0.5 for index in range(NUM_FINDINGS)) for bright in brightness]


def test_drop_is_at_the_position_of_the_evidence():
    spot = np.zeros((48, 48), dtype=np.uint8)
    spot[:8, :8] = 255
    *progress, last = occlude(BrightSpot(), [Image.new("L", (48, 48)), Image.fromarray(spot)], ["PA", "LATERAL"])
    assert [step.drops for step in progress] == [None] * len(progress)
    assert (last.num_done, last.num_places) == (2 * STEPS**2, 2 * STEPS**2)
    assert last.drops.shape == (NUM_FINDINGS, 2, STEPS, STEPS)
    assert np.abs(np.delete(last.drops, 3, axis=0)).max() == pytest.approx(0, abs=1e-7)
    assert np.abs(last.drops[3, 0]).max() == pytest.approx(0, abs=1e-7)
    assert np.unravel_index(last.drops[3, 1].argmax(), (STEPS, STEPS)) in [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert last.drops[3, 1, 6:, 6:].max() == pytest.approx(0, abs=1e-7)


def test_padding_of_a_tall_image_is_not_covered():
    *_, last = occlude(BrightSpot(), [Image.new("L", (24, 48)), Image.new("L", (24, 48))], ["PA", "LATERAL"])
    assert last.num_places == 2 * STEPS * STEPS // 2


def test_shares_sum_to_1_and_small_drops_are_0():
    drops = np.zeros((NUM_FINDINGS, 1, STEPS, STEPS), dtype=np.float32)
    drops[0, 0, 0, :2] = 0.2, -0.2
    drops[1, 0, 0, 0] = 0.01
    shares = occlusion_shares(drops)
    assert shares[0].sum() == pytest.approx(1)
    assert shares[0, 0, 0, 0] == pytest.approx(1)
    assert not shares[1:].any()


def test_occlusion_runs_with_a_real_model(tiny_checkpoint, images):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    *_, last = occlude(generator, [images[0]], ["PA"])
    assert np.isfinite(last.drops).all()
    assert last.drops.std() > 0
