"""The OOD check: distances compared with an independent formula, limit, files, program."""

import shutil
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from tests.helpers.files.parquet_files import write_parquet
from train.fit_ood import NO_VIEW_CHECK, _images, add_view_check, fit_ood_detector, fit_or_explain, main
from train.studies.stream import open_stream
from vlm.checkpoint.store import load_checkpoint, save_checkpoint
from vlm.decoding import GenerationOptions
from vlm.generator import ReportGenerator
from vlm.schema.preprocessing import Preprocessing
from vlm.uncertainty import (
    ABSENCE,
    NO_CHECK,
    NUM_DIRECTIONS,
    SETTINGS,
    TENSORS,
    describe_distance,
    fit_detector,
    load_ood_detector,
    save_ood_detector,
)


@pytest.fixture(scope="module")
def features():
    """800 training and 400 validation images with 50 features, which depend on 20 factors."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1200, 20)) @ rng.normal(size=(20, 50)) + 0.3 * rng.normal(size=(1200, 50)) + 5
    return values[:800], values[800:]


def test_distance_is_mahalanobis_under_probabilistic_pca(features):
    training, validation = features
    fitted = fit_detector(training, validation)
    standardised = (training - training.mean(0)) / training.std(0)
    values, vectors = np.linalg.eigh(np.cov(standardised.T))
    rest = values[:-25].mean()  # 25 of 50 directions are kept
    covariance = (vectors[:, -25:] * (values[-25:] - rest)) @ vectors[:, -25:].T + rest * np.eye(50)
    offsets = (validation - training.mean(0)) / training.std(0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", offsets, np.linalg.inv(covariance), offsets))
    np.testing.assert_allclose(fitted.distances(validation) * fitted.settings.limit, expected, rtol=1e-8)


def test_one_percent_of_the_validation_images_are_flagged(features):
    fitted = fit_detector(*features)
    assert (fitted.distances(features[1]) > 1).sum() == 4


def test_direction_without_training_variance_is_flagged(features):
    training, validation = features
    fitted = fit_detector(training, validation)
    _, _, directions = np.linalg.svd((training - training.mean(0)) / training.std(0))
    turned = training.mean(0) + training.std(0) * directions[-1] * 5  # small, but without variance in training
    far, none = fitted.distances(np.array([turned, training.mean(0)]))
    assert far > 1
    assert none == pytest.approx(0, abs=1e-6)


def test_constant_features_do_not_dominate_the_distance():
    rng = np.random.default_rng(0)
    training, validation = (np.hstack([rng.normal(size=(n, 9)), np.full((n, 1), 3.0)]) for n in (200, 100))
    fitted = fit_detector(training, validation)
    validation[:, 9] += 1e-3
    assert (fitted.distances(validation) > 1).sum() <= 2


def test_saved_detector_is_read_back(features, tmp_path):
    fitted = fit_detector(*features)
    assert load_ood_detector(tmp_path) is None
    save_ood_detector(tmp_path, fitted)
    again = load_ood_detector(tmp_path)
    assert again.settings == fitted.settings
    np.testing.assert_allclose(again.distances(features[1]), fitted.distances(features[1]), rtol=1e-4)
    assert len(again.directions) <= NUM_DIRECTIONS


@pytest.mark.parametrize(
    ("num_training", "num_validation", "problem"),
    [(19, 40, "needs at least 20 training images, found 19"), (40, 0, "needs at least 20 validation images, found 0")],
)
def test_too_few_images_are_rejected(features, num_training, num_validation, problem):
    with pytest.raises(ValueError, match=problem):
        fit_detector(features[0][:num_training], features[1][:num_validation])


def test_identical_images_are_rejected():
    with pytest.raises(ValueError, match="all training images have the same features"):
        fit_detector(np.ones((30, 5)), np.ones((30, 5)))


def test_features_of_another_model_are_rejected(features):
    with pytest.raises(ValueError, match=r"features are \(2, 7\) but those of training images have 50"):
        fit_detector(*features).distances(np.zeros((2, 7)))


@pytest.mark.parametrize("damage", ["cut", "gone", "negative", "not finite"])
def test_damaged_files_are_named_with_the_fix(features, tmp_path, damage):
    fitted = fit_detector(*features)
    if damage == "not finite":
        fitted.mean[0] = np.nan
    save_ood_detector(tmp_path, fitted)
    if damage == "cut":
        (tmp_path / TENSORS).write_bytes((tmp_path / TENSORS).read_bytes()[:-8])
    elif damage == "gone":
        (tmp_path / TENSORS).unlink()
    elif damage == "negative":
        text = (tmp_path / SETTINGS).read_text()
        (tmp_path / SETTINGS).write_text(text.replace('"limit": ', '"limit": -'))
    with pytest.raises(ValueError, match="limit must be above 0" if damage == "negative" else r"ood.*again"):
        load_ood_detector(tmp_path)


def test_program_adds_the_detector_to_a_checkpoint(tiny_checkpoint, small_dataset, tmp_path, capsys):
    from data.study import load_studies

    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    assert ReportGenerator.from_pretrained(folder).ood_detector is None
    with pytest.raises(ValueError, match="OOD check needs at least 20 validation images, found 7"):
        main(["--checkpoint", str(folder), "--dataset", str(small_dataset)])
    studies = load_studies(small_dataset)
    studies["validation"] = studies["train"]
    settings = fit_ood_detector(folder, studies).settings
    num_images = sum(map(len, studies["train"]["images"]))
    assert (settings.num_training_images, settings.num_validation_images) == (num_images, num_images)
    generator = ReportGenerator.from_pretrained(folder)
    known = generator.image_features(studies["train"][0]["images"])
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    assert generator.ood_detector.distances(known).max() < generator.ood_detector.distances(
        generator.image_features([noise])
    )
    save_checkpoint(tmp_path / "copy", load_checkpoint(folder))
    assert ReportGenerator.from_pretrained(tmp_path / "copy").ood_detector.settings == settings


def hearts(seed, number):
    """Gray noise with a bright spot, the heart, on the right half of the image."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        pixels = rng.normal(90, 15, (64, 64))
        row, column = rng.integers(25, 40), rng.integers(36, 44)
        pixels[row : row + 14, column : column + 14] += 90
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_mirrored_images_are_found(tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    splits = {
        split: [{"images": [image], "view_positions": ["PA"]} for image in hearts(seed, 200)]
        for seed, split in enumerate(("train", "validation"))
    }
    assert fit_ood_detector(folder, splits).mirror is not None
    generator = ReportGenerator.from_pretrained(folder)
    features = [
        generator.image_features(list(images)) for images in (hearts(2, 100), map(ImageOps.mirror, hearts(2, 100)))
    ]
    found = [generator.ood_detector.looks_mirrored(one).mean() for one in features]
    assert found[0] < 0.05 and found[1] > 0.9
    assert generator.ood_detector.looks_mirrored(generator.image_features(list(hearts(1, 200)))).mean() <= 0.01


def test_lateral_images_do_not_train_the_check_for_mirrored_images(tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    rows = [{"images": [image], "view_positions": ["LATERAL"]} for image in hearts(0, 30)]
    detector = fit_ood_detector(folder, {"train": rows, "validation": rows})
    assert detector.mirror is None
    features = ReportGenerator.from_pretrained(folder).image_features(list(hearts(0, 2)))
    assert load_ood_detector(folder).looks_mirrored(features).tolist() == [False, False]


def spines(seed, number):
    """Gray noise with a bright stripe from top to bottom."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        pixels = rng.normal(90, 15, (64, 64))
        column = rng.integers(30, 44)
        pixels[:, column : column + 10] += 90
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def two_views(frontal="PA", num_lateral=60):
    """Splits with 60 frontal images of this view position, and lateral ones."""
    return {
        split: [
            *({"images": [image], "view_positions": [frontal], "source": "one"} for image in hearts(seed, 60)),
            *({"images": [image], "view_positions": ["LL"], "source": "one"} for image in spines(seed, num_lateral)),
        ]
        for seed, split in enumerate(("train", "validation"))
    }


@pytest.fixture(scope="module")
def with_view_check(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lateral") / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    fit_ood_detector(folder, two_views())
    return folder


def test_lateral_and_frontal_views_are_told_apart_also_after_saving(with_view_check):
    generator = ReportGenerator.from_pretrained(with_view_check)
    features = [generator.image_features(list(images)) for images in (hearts(2, 100), spines(2, 100))]
    frontal, lateral = (generator.ood_detector.looks_lateral(one).mean() for one in features)
    assert frontal < 0.1 and lateral > 0.9
    frontal, lateral = (generator.ood_detector.looks_frontal(one).mean() for one in features)
    assert frontal > 0.5 and lateral < 0.1


def test_each_source_keeps_its_share_of_frontal_validation_images_below_the_limit(tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    studies = two_views()
    unlike = [{"images": [image], "view_positions": ["AP"], "source": "two"} for image in spines(3, 25)]
    studies["validation"] = [*studies["validation"], *unlike]
    fit_ood_detector(folder, studies)
    generator = ReportGenerator.from_pretrained(folder)
    features = generator.image_features([row["images"][0] for row in unlike])
    assert generator.ood_detector.looks_lateral(features).sum() <= 1


@pytest.mark.parametrize("settings", [{"num_lateral": 19}, {"frontal": "UNKNOWN"}])
def test_without_known_views_there_is_no_check_of_the_view(tiny_checkpoint, tmp_path, settings):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    assert fit_or_explain(folder, two_views(**settings), base=None).endswith(f"{NO_VIEW_CHECK}.")
    generator = ReportGenerator.from_pretrained(folder)
    assert generator.ood_detector.lateral is None
    features = generator.image_features([*hearts(2, 3), *spines(2, 3)])
    assert not generator.ood_detector.looks_lateral(features).any()
    assert not generator.ood_detector.looks_frontal(features).any()


def test_check_of_the_view_is_added_alone(with_view_check, tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    with pytest.raises(ValueError, match=r"has no OOD check; run python -m train\.fit_ood without --only-views"):
        add_view_check(folder, two_views())
    fit_ood_detector(folder, two_views(num_lateral=0))
    before, settings = load_ood_detector(folder), (folder / SETTINGS).read_bytes()
    with pytest.raises(ValueError, match="at least 20 lateral and 20 frontal training images"):
        add_view_check(folder, two_views(num_lateral=0))
    add_view_check(folder, two_views())
    after = load_ood_detector(folder)
    assert after.looks_lateral(ReportGenerator.from_pretrained(folder).image_features(list(spines(2, 20)))).all()
    assert (folder / SETTINGS).read_bytes() == settings
    for name, tensor in before.tensors().items():
        np.testing.assert_array_equal(after.tensors()[name], tensor)


def test_check_of_the_view_of_the_base_is_kept_if_the_own_data_cannot_fit_it(
    with_view_check, tiny_checkpoint, tmp_path
):
    own = two_views(num_lateral=0)
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    assert f"Check of the view: kept that of {with_view_check}." in fit_or_explain(
        folder, own, base=str(with_view_check)
    )
    kept, base = load_ood_detector(folder), load_ood_detector(with_view_check)
    np.testing.assert_array_equal(kept.lateral, base.lateral)
    assert kept.settings != base.settings

    checkpoint = load_checkpoint(tiny_checkpoint)
    with torch.no_grad():
        next(checkpoint.model.encoder.parameters()).add_(1e-3)
    save_checkpoint(tmp_path / "trained", checkpoint)
    assert NO_VIEW_CHECK in fit_or_explain(tmp_path / "trained", own, base=str(with_view_check))


def test_features_of_an_image_do_not_depend_on_the_others(tiny_checkpoint, images):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    together = generator.image_features(images[:3])
    assert together.shape == (3, 2 * 16 + 16 * 16)
    np.testing.assert_allclose(together[1], generator.image_features(images[1:2])[0], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


def _copy_with_detector(checkpoint, studies, folder):
    """A copy of the checkpoint with a check that is fitted on the training images."""
    shutil.copytree(checkpoint, folder)
    fit_ood_detector(folder, datasets.DatasetDict(train=studies["train"], validation=studies["train"]))
    return folder


def test_too_few_images_leave_the_reason_in_the_checkpoint_and_in_each_report(
    tiny_checkpoint, small_studies, images, tmp_path
):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    options = GenerationOptions(max_new_tokens=4)
    generator = ReportGenerator.from_pretrained(folder)
    assert generator.generate(images[0], options=options)[0].ood_not_checked == NO_CHECK
    assert "OOD check disabled" in fit_or_explain(folder, small_studies, base=None)
    generator = ReportGenerator.from_pretrained(folder)
    [report], *_, last = [generator.generate(images[0], options=options), *generator.stream(images[0], options=options)]
    assert report.ood_not_checked == last.ood_not_checked == generator.ood_not_checked
    assert report.ood_not_checked.startswith("the OOD check needs at least 20 validation images, found 7; fine-tune")
    save_checkpoint(tmp_path / "copy", load_checkpoint(folder))
    assert ReportGenerator.from_pretrained(tmp_path / "copy").ood_not_checked == report.ood_not_checked

    fit_ood_detector(folder, datasets.DatasetDict(train=small_studies["train"], validation=small_studies["train"]))
    generator = ReportGenerator.from_pretrained(folder)
    assert generator.generate(images[0], options=options)[0].ood_not_checked == ""
    assert not (folder / ABSENCE).exists()


def test_check_of_the_base_is_kept_only_with_an_unchanged_encoder(tiny_checkpoint, small_studies, tmp_path):
    base = _copy_with_detector(tiny_checkpoint, small_studies, tmp_path / "base")
    tuned = tmp_path / "tuned"
    shutil.copytree(tiny_checkpoint, tuned)
    assert "kept that of" in fit_or_explain(tuned, small_studies, base=str(base))
    kept = load_ood_detector(tuned)
    assert kept.settings == replace(load_ood_detector(base).settings, base=str(base))
    np.testing.assert_array_equal(kept.mean, load_ood_detector(base).mean)

    checkpoint = load_checkpoint(tiny_checkpoint)
    with torch.no_grad():
        next(checkpoint.model.encoder.parameters()).add_(1e-3)
    save_checkpoint(tmp_path / "trained", checkpoint)
    assert "OOD check disabled" in fit_or_explain(tmp_path / "trained", small_studies, base=str(base))
    assert load_ood_detector(tmp_path / "trained") is None

    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, preprocessing=Preprocessing(clahe=True))
    save_checkpoint(tmp_path / "other_input", checkpoint)
    assert "OOD check disabled" in fit_or_explain(tmp_path / "other_input", small_studies, base=str(base))


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (0.0, "within the limit"),
        (1.0, "within the limit"),
        (1.0001, "just above the limit"),
        (1.04, "just above the limit"),
        (1.06, "1.1 times the limit"),
        (2.349, "2.3 times the limit"),
        (9.96, "10 times the limit"),
        (41.7, "42 times the limit"),
        (12345.0, "more than 100 times the limit"),
        (float("nan"), "a distance that cannot be computed"),
    ],
)
def test_distance_has_words_near_the_limit_and_two_figures_elsewhere(distance, words):
    assert describe_distance(distance) == words


def test_images_of_a_stream_are_those_of_the_data_set(small_dataset, small_studies, tmp_path):
    streamed = open_stream(str(write_parquet(small_dataset, tmp_path / "shards")))["train"]
    one, other = (
        sorted((image.tobytes(), *about) for image, *about in _images(rows))
        for rows in (streamed, small_studies["train"])
    )
    assert one == other
