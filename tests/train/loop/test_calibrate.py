"""Temperature and thresholds, compared with known values and brute force."""

import numpy as np
import pytest
import torch

from train.loop.validation import best_threshold, calibrate
from vlm.uncertainty import Calibration


def _overconfident(temperature, num_studies=4000):
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(num_studies, 14, generator=generator) * 1.5 - 0.5
    targets = (torch.rand(num_studies, 14, generator=generator) < honest.sigmoid()).float()
    return honest * temperature, targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_known_temperature_is_recovered(temperature):
    logits, targets = _overconfident(temperature)
    assert calibrate(logits, targets, torch.ones_like(targets).bool()).temperature == pytest.approx(
        temperature, rel=0.04
    )


def test_masked_labels_have_no_effect():
    logits, targets = _overconfident(2.0, 300)
    mask = torch.ones_like(targets).bool()
    mask[200:] = False
    spoiled = targets.clone()
    spoiled[200:] = 1 - spoiled[200:]
    assert calibrate(logits, spoiled, mask).temperature == calibrate(logits, targets, mask).temperature
    assert calibrate(logits, spoiled, mask).num_studies == 200


def test_threshold_separates_separable_studies():
    probabilities = torch.linspace(0.01, 0.99, 99).repeat(14, 1).T
    targets = (probabilities > 0.705).float()
    calibration = calibrate(probabilities.logit(), targets, torch.ones_like(targets).bool())
    scaled = (probabilities.logit() / calibration.temperature).sigmoid()
    assert torch.equal((scaled >= calibration.thresholds[0]).float(), targets)


def _f1(probabilities, positive, threshold):
    predicted = probabilities >= threshold
    return 2 * (predicted & positive).sum() / (predicted.sum() + positive.sum())


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("num_levels", [3, 6, 1000])
def test_threshold_has_the_best_f1_also_with_equal_probabilities(seed, num_levels):
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(1, num_levels + 1, size=60) / (num_levels + 2)
    positive = rng.random(60) < 0.1 + 0.8 * probabilities
    best = max(_f1(probabilities, positive, threshold) for threshold in [*probabilities, 0.0])
    assert _f1(probabilities, positive, best_threshold(probabilities, positive, np.zeros(60))) == pytest.approx(
        best, abs=1e-12
    )


def test_few_positives_give_the_default_threshold_and_no_labels_no_calibration():
    logits, targets = _overconfident(1.0, 200)
    targets[:, 3] = 0.0
    assert calibrate(logits, targets, torch.ones_like(targets).bool()).thresholds[3] == 0.5
    nothing = calibrate(logits, targets, torch.zeros_like(targets).bool())
    assert not nothing.is_calibrated
    assert nothing.temperature == 1.0


def test_findings_without_labels_are_unknown():
    mask = torch.zeros(20, 14, dtype=torch.bool)
    mask[:, 6], mask[:5, 7] = True, True
    found = calibrate(torch.randn(20, 14), torch.ones(20, 14), mask)
    assert found.num_labeled == (0,) * 6 + (20, 5) + (0,) * 6
    assert [index for index, known in enumerate(found.is_known) if known] == [6, 7]
    assert not any(calibrate(torch.randn(20, 14), torch.ones(20, 14), torch.zeros_like(mask)).is_known)
    assert Calibration().is_known == (True,) * 14
    with pytest.raises(ValueError, match="counts labels of 14 findings, got 3"):
        Calibration(num_labeled=(1, 2, 3))


def test_expected_errors_equal_actual_errors_of_calibrated_probabilities():
    logits, targets = _overconfident(1.0, 4000)
    calibration = Calibration(thresholds=(0.3,) * 14, num_labeled=(1,) * 13 + (0,))
    probabilities = logits.sigmoid()
    wrong = ((probabilities >= 0.3).float() != targets)[:, :13].sum(dim=1).float().mean()
    expected = [calibration.expected_errors(row) for row in probabilities.tolist()]
    assert sum(expected) / len(expected) == pytest.approx(float(wrong), rel=0.02)
    assert calibration.expected_errors([0.9, 0.2] + [0.0] * 11 + [0.5]) == pytest.approx(0.1 + 0.2)


def test_threshold_has_the_best_mean_f1_over_the_sources_with_positive_studies():
    """At .5 there are a few negative studies of the large source, and all positive studies of the small one."""
    probabilities = np.repeat([0.95, 0.5, 0.1, 0.5, 0.1, 0.4], [500, 20, 480, 5, 5, 50])
    positive = np.repeat([True, False, False, True, False, False], [500, 20, 480, 5, 5, 50])
    logits = torch.tensor(probabilities).logit()[:, None].repeat(1, 14)
    targets = torch.tensor(positive).double()[:, None].repeat(1, 14)

    def misses(sources=()):
        found = calibrate(logits, targets, torch.ones(1060, 14).bool(), sources=sources)
        predicted = (logits[:, 0] / found.temperature).sigmoid().numpy() >= found.thresholds[0]
        return int((positive & ~predicted).sum()), int((predicted & ~positive).sum())

    assert misses() == (5, 0)
    assert misses(["drawings"] * 1000 + ["X-rays"] * 10 + ["normals"] * 50) == (0, 20)
    for number, expected in ((1, (5, 0)), (2, (5, 0)), (3, (0, 20))):  # of positive studies of the small source
        few = ["drawings"] * (1005 - number) + ["X-rays"] * (5 + number) + ["normals"] * 50
        assert misses(few) == expected


def test_false_positives_of_a_source_without_positive_studies_count():
    probabilities = np.repeat([0.9, 0.6, 0.5, 0.55], [8, 2, 10, 90])
    positive = np.repeat([True, True, False, False], [8, 2, 10, 90])
    sources = np.repeat(["a", "b"], [20, 90])
    assert 0.55 < best_threshold(probabilities, positive, sources) < 0.6
    probabilities[20:] = 0.7
    assert 0.7 < best_threshold(probabilities, positive, sources) < 0.9
