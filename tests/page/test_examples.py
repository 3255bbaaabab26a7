"""Examples: fixed synthetic studies, and the images of a folder without DICOM headers."""

import logging

import numpy as np
from PIL import Image

import page.examples
from data.synthetic.source import make_study
from page.examples import NUM_SYNTHETIC, SYNTHETIC_SEED, folder_examples, real_examples, synthetic_examples
from page.study.upload import VIEW_CHOICES
from tests.helpers.dicom.files import GRAY


def test_real_examples_are_gray_frontal_images_without_metadata(tmp_path):
    for example in real_examples(tmp_path):
        with Image.open(example.path) as image:
            assert (image.mode, image.info, example.view) == ("L", {}, "PA")
        assert example.caption.startswith("NIH: ")


def test_synthetic_examples_are_the_frontal_views_of_fixed_studies(tmp_path):
    examples = synthetic_examples(tmp_path)
    assert len(examples) == NUM_SYNTHETIC
    for index, example in enumerate(examples):
        study = make_study(SYNTHETIC_SEED, index)
        assert np.array_equal(np.asarray(Image.open(example.path)), np.asarray(study.images[0]))
        assert (VIEW_CHOICES[example.view], example.indication) == (study.view_positions[0], study.indication)


def test_folder_gives_its_readable_images_and_logs_the_others(tmp_path, dicom, caplog):
    source, out = tmp_path / "mine", tmp_path / "out"
    (source / "more").mkdir(parents=True)
    out.mkdir()
    dicom(ViewPosition="PA").rename(source / "b")
    Image.fromarray(GRAY).save(source / "a.png")
    (source / "c.txt").write_text("notes")
    with caplog.at_level(logging.WARNING):
        examples = folder_examples(source, out)
    assert [(example.caption, example.view) for example in examples] == [("a", "auto"), ("b", "PA")]
    assert "c.txt: its content is none of PNG" in caplog.text


def test_examples_have_no_dicom_header(tmp_path, dicom):
    source, out = tmp_path / "mine", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    dicom().rename(source / "scan")
    [example] = folder_examples(source, out)
    assert b"Doe" in (source / "scan").read_bytes()
    assert b"Doe" not in example.path.read_bytes()
    assert np.array_equal(np.asarray(Image.open(example.path)), GRAY)


def test_only_the_first_images_of_a_large_folder_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(page.examples, "MAX_FOLDER_EXAMPLES", 2)
    source, out = tmp_path / "mine", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in "abc":
        Image.fromarray(GRAY).save(source / f"{name}.png")
    assert [example.caption for example in folder_examples(source, out)] == ["a", "b"]
