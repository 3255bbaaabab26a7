"""The program that mixes a linear classifier into a checkpoint."""

import json
import shutil
from dataclasses import asdict

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from data.study import FEATURES, PREPARATION_FILE
from tests.helpers.fake_generator import make_row
from train.fit_probe import main
from vlm.checkpoint.provenance import load_provenance
from vlm.checkpoint.store import checkpoint_hash, load_checkpoint
from vlm.generator import ReportGenerator
from vlm.schema.findings import FINDING_INDEX, UNLABELED
from vlm.schema.preprocessing import Preprocessing
from vlm.uncertainty import Calibration, save_calibration

EDEMA, FRACTURE = FINDING_INDEX["Edema"], FINDING_INDEX["Fracture"]


def studies(split, number, *, is_bright=True, others=UNLABELED):
    """Every second image is dark. The bright ones (or the dark ones) have an edema."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(number):
        pixels = rng.integers(0, 60, (8, 8)) + 120 * (index % 2)
        labels = [others] * 14
        labels[EDEMA], labels[FRACTURE] = int((index % 2 == 1) == is_bright), int(index < 3)
        image = Image.fromarray(pixels.astype(np.uint8))
        subject = f"{split}{index // 2}"  # two studies a patient, one of each kind
        row = make_row(2 * index, split) | {"study_id": f"{split}{index}", "subject_id": subject, "labels": labels}
        rows.append(row | {"images": [image], "view_positions": ["PA"]})
    return datasets.Dataset.from_list(rows, features=FEATURES)


def prepared(folder, **splits):
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


def fit(checkpoint, dataset, output, *flags):
    main(["--checkpoint", str(checkpoint), "--dataset", str(dataset), "--output-dir", str(output), *flags])
    return ReportGenerator.from_pretrained(output)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_program_learns_a_finding_and_keeps_the_others(tiny_checkpoint, tmp_path, capsys, precision):
    validation = studies("validation", 20)
    dataset = prepared(tmp_path / "set", train=studies("train", 40), validation=validation)
    before, old_hash = ReportGenerator.from_pretrained(tiny_checkpoint), checkpoint_hash(str(tiny_checkpoint))
    after = fit(tiny_checkpoint, dataset, tmp_path / "new", "--save-precision", precision, "--batch-size", "3")
    said = capsys.readouterr().out
    assert "Linear classifier of Edema\n" in said and "has a share of 0.5" in said
    assert checkpoint_hash(str(tiny_checkpoint)) == old_hash
    images = [[image] for image in (row["images"][0] for row in validation)]
    logits = [
        generator.calibration.temperature * torch.tensor(generator.classify(images)).logit()
        for generator in (before, after)
    ]
    others = [index for index in range(14) if index != EDEMA]
    torch.testing.assert_close(logits[0][:, others], logits[1][:, others], atol=0.01, rtol=0)
    is_edema = np.array(validation["labels"])[:, EDEMA]
    assert roc_auc_score(is_edema, logits[1][:, EDEMA]) == 1
    assert after.calibration.num_studies == 20 and after.calibration.curves
    decided = torch.tensor(after.classify(images))[:, EDEMA] >= after.thresholds[EDEMA]
    assert decided.tolist() == is_edema.astype(bool).tolist()


def test_new_checkpoint_records_its_data(tiny_checkpoint, tmp_path):
    dataset = prepared(tmp_path / "set", train=studies("train", 40), validation=studies("validation", 20))
    fit(tiny_checkpoint, dataset, tmp_path / "new")
    run = load_provenance(tmp_path / "new").runs[-1]
    assert run.program == "train/fit_probe.py" and [part.num_studies for part in run.studies] == [40, 20]
    card = (tmp_path / "new" / "README.md").read_text()
    assert "whose share in the log-odds is 0.5" in card and "| 0.5 | 0." in card


def test_finding_without_validation_cases_keeps_its_decisions(tiny_checkpoint, tmp_path, capsys):
    start = shutil.copytree(tiny_checkpoint, tmp_path / "start")
    thresholds = tuple(np.linspace(0.1, 0.9, 14).tolist())
    old = Calibration(temperature=1.5, thresholds=thresholds, num_studies=9, decides_reports=True)
    save_calibration(start, old)
    for others in (UNLABELED, 0):
        validation = studies("validation", 20, others=others)
        dataset = prepared(tmp_path / f"set{others}", train=studies("train", 40), validation=validation)
        new = fit(start, dataset, tmp_path / f"new{others}").calibration
        assert (new.temperature == 1.5) == (others == UNLABELED)  # only one finding is labeled then
        kept = [index for index in range(14) if index != EDEMA]
        np.testing.assert_allclose(np.array(new.decision_logits)[kept], np.array(old.decision_logits)[kept], rtol=1e-6)
        assert new.thresholds[EDEMA] != old.thresholds[EDEMA] and new.is_known == (True,) * 14
        assert "fewer than 5 validation studies have the finding: Enlarged" in capsys.readouterr().out
        assert "but not the thresholds of Enlarged" in (tmp_path / f"new{others}" / "README.md").read_text()


def test_data_set_with_another_preprocessing_is_an_error(tiny_checkpoint, tmp_path):
    dataset = prepared(tmp_path / "set", train=studies("train", 40), validation=studies("validation", 20))
    switches = asdict(Preprocessing(clahe=True))
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (dataset / PREPARATION_FILE).write_text(json.dumps(preparation))
    with pytest.raises(ValueError, match="was prepared with another preprocessing than "):
        fit(tiny_checkpoint, dataset, tmp_path / "new")


def test_checkpoint_with_a_linear_probe_keeps_what_it_learned(tiny_checkpoint, tmp_path):
    dataset = prepared(tmp_path / "set", train=studies("train", 40), validation=studies("validation", 20))
    fit(tiny_checkpoint, dataset, tmp_path / "first")
    fit(tmp_path / "first", dataset, tmp_path / "second")
    first, second = (load_checkpoint(tmp_path / name).model.finding_queries for name in ("first", "second"))
    torch.testing.assert_close(second.finding_weight[EDEMA], first.finding_weight[EDEMA] / 2)
    assert second.linear_probe[1].weight[EDEMA].norm() > first.linear_probe[1].weight[EDEMA].norm()


def test_classifier_that_is_worse_on_validation_gets_no_share(tiny_checkpoint, tmp_path, capsys):
    wrong = studies("validation", 20, is_bright=False)
    dataset = prepared(tmp_path / "set", train=studies("train", 40), validation=wrong)
    after = fit(tiny_checkpoint, dataset, tmp_path / "new")
    assert "it does not help on the validation studies, so its share is 0;" in capsys.readouterr().out
    before = ReportGenerator.from_pretrained(tiny_checkpoint)
    images = [[image] for image in (row["images"][0] for row in wrong)]
    orders = [np.argsort(np.array(generator.classify(images))[:, EDEMA]) for generator in (before, after)]
    assert orders[0].tolist() == orders[1].tolist()
    assert "A linear classifier of the findings did not help" in (tmp_path / "new" / "README.md").read_text()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"train": 12, "validation": 20}, "no finding has 10 training patients with it and 10 without it"),
        ({"train": 40, "validation": 9}, "and 5 validation studies with it and one without it"),
        ({"train": 40}, "has no validation studies; prepare it with a validation split"),
        ({"validation": 20}, "has no train studies; prepare it with a train split"),
    ],
)
def test_studies_that_do_not_suffice_are_an_error(tiny_checkpoint, tmp_path, numbers, message):
    dataset = prepared(tmp_path / "set", **{split: studies(split, number) for split, number in numbers.items()})
    with pytest.raises(ValueError, match=message):
        fit(tiny_checkpoint, dataset, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_folder_that_exists_is_kept(tiny_checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        fit(tiny_checkpoint, tmp_path / "set", tmp_path)
    assert "exists; name a new folder" in " ".join(capsys.readouterr().err.split()).replace(" │ │ ", " ")
