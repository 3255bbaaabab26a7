"""The program that adds ROC curves to a checkpoint."""

import shutil

import datasets
import numpy as np
import pytest

from data.study import FEATURES
from tests.helpers.fake_generator import make_row
from train.fit_roc import main
from vlm.checkpoint.store import checkpoint_hash
from vlm.generator import ReportGenerator
from vlm.operating_point import OperatingPoint
from vlm.schema.findings import FINDING_INDEX

EDEMA = FINDING_INDEX["Edema"]


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


def prepared(folder, split, num_studies):
    rows = [make_row(number, split) for number in range(num_studies)]
    datasets.DatasetDict({split: datasets.Dataset.from_list(rows, features=FEATURES)}).save_to_disk(folder)
    return folder


def test_program_adds_curves_and_nothing_else_changes(checkpoint, tmp_path, capsys):
    dataset = prepared(tmp_path / "set", "validation", 24)
    before = ReportGenerator.from_pretrained(checkpoint)
    with pytest.raises(ValueError, match=rf"{checkpoint}: the checkpoint has no ROC curves"):
        before.at(OperatingPoint.parse("sensitivity=0.9"))
    old_hash = checkpoint_hash(str(checkpoint))
    main(["--checkpoint", str(checkpoint), "--dataset", str(dataset), "--batch-size", "5"])
    assert "roc.json: curves of 3 findings (too few cases: " in capsys.readouterr().out
    assert checkpoint_hash(str(checkpoint)) == old_hash
    generator = ReportGenerator.from_pretrained(checkpoint)
    assert generator.thresholds == before.thresholds
    moved = generator.at(OperatingPoint.parse("sensitivity=0.75"))
    studies = datasets.load_from_disk(str(dataset))["validation"]
    probabilities = np.array(generator.classify(studies["images"][:], view_positions=studies["view_positions"][:]))
    cases = np.array(studies["labels"][:])[:, EDEMA] == 1
    assert (probabilities[cases, EDEMA] >= moved.thresholds[EDEMA] - 1e-6).mean() >= 0.75
    assert moved.thresholds[0] == before.thresholds[0]
    assert moved.model is generator.model


def test_data_set_without_validation_studies_is_rejected(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="has no validation studies"):
        main(["--checkpoint", str(checkpoint), "--dataset", str(prepared(tmp_path / "set", "train", 3))])


def test_data_set_with_too_few_cases_is_rejected(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="no finding has enough cases in the 3 validation studies"):
        main(["--checkpoint", str(checkpoint), "--dataset", str(prepared(tmp_path / "set", "validation", 3))])
