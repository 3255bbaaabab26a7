"""Rates of flagged images: unchanged, altered, and from folders of other images."""

import json
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image, ImageOps

from eval.probes.ood import ALTERATIONS, OodConfig, main, ood_rates
from eval.report.tables import is_probe, probe_lines
from train.fit_ood import fit_ood_detector
from vlm.generator import ReportGenerator


def no_progress(number, text):
    return lambda count: None


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, small_studies, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ood") / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    fit_ood_detector(folder, datasets.DatasetDict(train=small_studies["train"], validation=small_studies["train"]))
    return folder


def config(checkpoint, **settings):
    return OodConfig(checkpoint=str(checkpoint), split="train", **settings)


def test_rates_are_those_of_the_detector(checkpoint, small_dataset, small_studies):
    generator = ReportGenerator.from_pretrained(checkpoint)
    document = ood_rates(config(checkpoint, datasets=(small_dataset,)), generator, no_progress)
    rows = {row["alteration"]: row for row in document["ood"]}
    assert list(rows) == list(ALTERATIONS)
    images = [image.convert("L") for images in small_studies["train"]["images"] for image in images]
    assert rows["unchanged"]["num_images"] == rows["inverted"]["num_images"] == len(images)
    assert rows["mirrored"]["num_images"] < len(images)  # without the lateral views
    for alteration, alter in (("unchanged", lambda image: image), ("inverted", ImageOps.invert)):
        distances = generator.ood_detector.distances(generator.image_features([alter(image) for image in images]))
        flagged = rows[alteration]["flagged"]["value"] - rows[alteration]["mirrored"]["value"]
        assert flagged <= (distances > 1).mean() <= rows[alteration]["flagged"]["value"]
    assert rows["unchanged"]["flagged"]["value"] < 0.1


def test_program_writes_a_document_that_becomes_a_table(checkpoint, tmp_path, capsys, caplog):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    output = tmp_path / "ood.json"
    main(["--checkpoint", str(checkpoint), "--others", str(folder), "--output", str(output)])
    assert "photographs, unchanged: 100.0% of 3" in capsys.readouterr().out
    assert "left out of photographs: " in caplog.text and "notes.txt" in caplog.text
    document = json.loads(output.read_text())
    assert is_probe(document)
    assert "| photographs | unchanged | 3 | 1.000 [1.000, 1.000] |" in "\n".join(probe_lines(document))


def test_checkpoint_without_the_check_and_missing_folders_are_named(tiny_checkpoint, small_dataset, tmp_path):
    with pytest.raises(ValueError, match="has no out-of-distribution check"):
        main(["--checkpoint", str(tiny_checkpoint), "--datasets", str(small_dataset)])
    with pytest.raises(ValueError, match=r"--others .*nothing is not a folder"):
        OodConfig(others=(tmp_path / "nothing",))
    with pytest.raises(ValueError, match="nothing to check"):
        OodConfig()
