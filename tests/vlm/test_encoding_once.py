"""A generator that encodes each image once: the same outputs as with an encoder pass for each method."""

import numpy as np
import pytest
import torch

import vlm.precision
from vlm.checkpoint.store import load_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior
from vlm.layers.int8 import Int8Linear, int8_problem
from vlm.operating_point import BEST_F1

SHORT = GenerationOptions(max_new_tokens=8)
CANDIDATES = GenerationOptions(max_new_tokens=8, num_candidates=3)
VIEWS = ["PA", "LATERAL"]


@pytest.fixture(scope="module")
def generator(prior_checkpoint):
    return ReportGenerator.from_pretrained(prior_checkpoint, device="cpu")


def values_of(report):
    """The text of a report and its numbers."""
    changes = np.ravel(report.change_probabilities or ())
    numbers = (report.finding_probabilities, report.token_log_probabilities, changes, report.attention_maps.ravel())
    return report.report, np.concatenate(numbers)


def asked(generator, images, prior):
    """The answers of all methods about one study, each as text and numbers."""
    study, batch = {"view_positions": VIEWS, "prior": prior}, {"view_positions": [VIEWS], "priors": [prior]}
    reports = generator.generate([images], options=SHORT, **batch)
    reports += generator.stream(images, options=SHORT, **study)
    [candidates] = generator.generate_candidates([images], options=CANDIDATES, **batch)
    numbers = [
        generator.classify([images], **batch),
        generator.features([images], view_positions=[VIEWS]),
        generator.image_features(images),
        generator.log_probabilities([images], ["Findings: The heart"], **batch),
        generator.sentence_maps("Findings: The heart is enlarged.", ["The heart is enlarged."], images, **study),
    ]
    return [*map(values_of, [*reports, *candidates]), *(("", np.ravel(part)) for part in numbers)]


def assert_same(found, expected):
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert any(text for text, _ in found)
    for (_, one), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_all_methods_give_the_same_and_each_image_is_encoded_once(generator, images, encoder_passes):
    views, prior = images[:2], Prior(images=images[2:3], view_positions=["AP"], report="Findings: No effusion.")
    sizes = encoder_passes(generator)
    expected = asked(generator, views, prior)
    assert sum(sizes) > 3
    sizes.clear()
    assert_same(asked(generator.encoding_once(), views, prior), expected)
    assert sizes == [2, 1]


def test_batch_mixes_images_that_were_encoded_and_others(generator, images, encoder_passes):
    studies, priors = [images[:2], images[2:3], images[3:5]], [None, Prior(images=images[5:6]), None]
    expected = generator.generate(studies, priors=priors, options=SHORT)
    once, sizes = generator.encoding_once(), encoder_passes(generator)
    once.image_features([images[1], images[5]])
    reports = once.generate(studies, priors=priors, options=SHORT)
    assert sizes == [2, 4]
    assert_same(list(map(values_of, reports)), list(map(values_of, expected)))


def test_other_thresholds_need_no_other_features(generator, images, encoder_passes):
    once, sizes = generator.encoding_once(), encoder_passes(generator)
    once.classify(images[:1])
    once.at(BEST_F1).encoding_once().classify(images[:1])
    assert sizes == [1]


def test_classification_does_not_encode_the_prior_study(generator, images, encoder_passes):
    sizes = encoder_passes(generator)
    generator.classify(images[:1], priors=[Prior(images=images[1:3])])
    assert sizes == [1]


@pytest.mark.skipif(bool(int8_problem(torch.device("cpu"))), reason="this processor has no int8 kernel")
@pytest.mark.parametrize("faster", ["int8", "fp32"])
def test_features_come_from_the_encoder_of_the_chosen_precision(tiny_checkpoint, images, monkeypatch, faster):
    monkeypatch.setattr(vlm.precision, "_seconds", lambda model: float(has_int8(model) != (faster == "int8")))
    generator = ReportGenerator(load_checkpoint(tiny_checkpoint), device="cpu", precision="auto")
    assert generator.precision == faster
    assert has_int8(generator.patch_features.encoder) == (faster == "int8")
    [expected] = generator.generate([images[:2]], options=SHORT)
    once = generator.encoding_once()
    once.image_features(images[:2])
    [report] = once.generate([images[:2]], options=SHORT)
    assert_same([values_of(report)], [values_of(expected)])


def has_int8(model):
    return any(isinstance(layer, Int8Linear) for layer in model.modules())
