"""The probe of findings: classifier and logistic regression on the same features, on new patients."""

import datasets
import numpy as np
import pytest

from data.study import FEATURES, load_studies
from eval.probes.findings import FindingProbeConfig, finding_probe_lines, main, probe_findings
from eval.report.tables import probe_lines
from vlm.generator import ReportGenerator
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, NUM_FINDINGS, POSITIVE, UNLABELED

EFFUSION, EDEMA = FINDING_INDEX["Pleural Effusion"], FINDING_INDEX["Edema"]


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def studies(small_studies, tmp_path_factory):
    """Images with an effusion are dark. Edema has one positive patient only; nothing else is labeled."""
    pool = [*small_studies["train"]]

    def split(name, number):
        rows = []
        for index in range(number):
            row = dict(pool[index % len(pool)])
            row["images"] = [
                image.point(lambda gray, dark=index % 2: gray // (1 + 4 * dark)) for image in row["images"]
            ]
            row["labels"] = [UNLABELED] * NUM_FINDINGS
            row["labels"][EFFUSION] = POSITIVE if index % 2 else NEGATIVE
            row["labels"][EDEMA] = POSITIVE if index == 0 else NEGATIVE
            row["study_id"] = row["subject_id"] = f"{name} {index}"
            rows.append(row)
        return datasets.Dataset.from_list(rows, features=FEATURES)

    folder = tmp_path_factory.mktemp("probe") / "studies"
    datasets.DatasetDict({"train": split("train", 24), "test": split("test", 12)}).save_to_disk(str(folder))
    return folder


def quietly(total, words):
    return lambda amount: None


@pytest.fixture(scope="module")
def document(studies, generator, tiny_checkpoint):
    config = FindingProbeConfig(checkpoint=str(tiny_checkpoint), dataset=studies, num_resamples=50)
    return probe_findings(config, generator, load_studies(studies), quietly)


def test_regression_finds_what_the_features_tell(document):
    [row] = document["finding_probe"]
    assert (row["finding"], row["num_positive"], row["num_studies"]) == ("Pleural Effusion", 6, 12)
    assert row["regression"]["value"] == 1
    assert document["regression"]["value"] == 1


def test_difference_is_classifier_minus_regression(document):
    [row] = document["finding_probe"]
    assert row["difference"]["value"] == pytest.approx(row["classifier"]["value"] - row["regression"]["value"])
    assert document["difference"]["low"] <= document["difference"]["value"] <= document["difference"]["high"]


def test_findings_with_too_few_patients_are_listed(document):
    assert len(document["left_out"]) == NUM_FINDINGS - 1
    assert "Edema" in document["left_out"]


def test_page_and_terminal_show_the_probe(document):
    assert any("Pleural Effusion: classifier" in line for line in finding_probe_lines(document))
    assert any(line.startswith("| Pleural Effusion | 6 |") for line in probe_lines(document))


def test_sample_of_training_studies_is_that_of_training(studies, generator):
    config = FindingProbeConfig(dataset=studies, num_studies=20, num_resamples=5)
    document = probe_findings(config, generator, load_studies(studies), quietly)
    assert document["num_learned"] == 20


def test_data_without_enough_labels_is_rejected(studies, generator, tmp_path):
    loaded = load_studies(studies)
    few = datasets.DatasetDict({"train": loaded["train"].select(range(4)), "test": loaded["test"]})
    with pytest.raises(ValueError, match="no finding has 5 positive and 5 negative patients"):
        probe_findings(FindingProbeConfig(dataset=tmp_path), generator, few, quietly)


def test_main_writes_the_document(studies, tiny_checkpoint, tmp_path, capsys):
    output = tmp_path / "probe.json"
    main([f"--checkpoint={tiny_checkpoint}", f"--dataset={studies}", "--num-resamples=5", f"--output={output}"])
    assert output.is_file()
    assert "Pleural Effusion" in capsys.readouterr().out


def test_studies_that_cannot_be_read_are_counted(studies, generator, caplog):
    loaded = load_studies(studies)
    rows = [*loaded["train"]]
    rows[3]["images"] = []
    rows[3]["view_positions"] = []
    broken = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows, features=FEATURES), "test": loaded["test"]}
    )
    document = probe_findings(FindingProbeConfig(dataset=studies, num_resamples=5), generator, broken, quietly)
    assert (document["num_rejected"], document["num_learned"]) == (1, 23)
    assert "train 3 is left out" in caplog.text
    assert np.isfinite(document["regression"]["value"])
