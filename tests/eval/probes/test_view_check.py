"""Rates of images that look like lateral or frontal views, per data set and view."""

import json
import shutil

import numpy as np
import pytest

from data.study import load_studies
from eval.probes.view_check import main
from eval.report.tables import is_probe, probe_lines
from tests.helpers.view_checks import everything_looks_lateral
from vlm.generator import ReportGenerator
from vlm.schema.findings import is_lateral
from vlm.uncertainty import OodDetector, save_ood_detector


def test_rates_are_those_of_the_images_of_each_view_and_become_a_table(
    tiny_checkpoint, small_dataset, tmp_path, monkeypatch, capsys
):
    folder, output = tmp_path / "checkpoint", tmp_path / "views.json"
    shutil.copytree(tiny_checkpoint, folder)
    save_ood_detector(folder, everything_looks_lateral())
    rows = load_studies(small_dataset)["train"]
    generator = ReportGenerator.from_pretrained(folder)
    pairs = [pair for row in rows for pair in zip(row["images"], row["view_positions"], strict=True)]
    features = generator.image_features([image.convert("L") for image, _ in pairs])
    limit = np.median(features[:, -1])
    monkeypatch.setattr(OodDetector, "looks_frontal", lambda self, features: features[:, -1] < limit)

    main(["--checkpoint", str(folder), "--datasets", str(small_dataset), "--split", "train", "--output", str(output)])
    document = json.loads(output.read_text())
    lateral = np.array([is_lateral(position) for _, position in pairs])
    for row, chosen in zip(document["view_check"], (~lateral, lateral), strict=True):
        assert row["num_images"] == chosen.sum()
        assert row["looks_frontal"]["value"] == pytest.approx((features[chosen, -1] < limit).mean(), abs=0.05)
        assert (row["looks_lateral"]["value"], row["distant"]["value"]) == (1, 0)
    assert f"lateral, {lateral.sum()} images: 100.0% looks lateral" in capsys.readouterr().out
    assert is_probe(document)
    table = "\n".join(probe_lines(document))
    assert f"| lateral | {lateral.sum()} | 1.000 [1.000, 1.000] |" in table


def test_checkpoint_without_the_check_is_named_with_the_fix(tiny_checkpoint, small_dataset):
    with pytest.raises(ValueError, match=r"has no check of the view; python -m train\.fit_ood --only-views adds it"):
        main(["--checkpoint", str(tiny_checkpoint), "--datasets", str(small_dataset)])
