"""A linear probe: features that tell two statements apart are found to, on other patients; noise is not."""

import datasets
import numpy as np
import pytest

from data.study import FEATURES
from eval.metrics.probabilities import ranking_scores
from eval.probes.linear_probe import ProbeConfig, main, probe
from vlm.generator import ReportGenerator

KINDS = ("bacterial pneumonia", "viral pneumonia")


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def studies(small_studies, tmp_path_factory):
    """Images of bacterial pneumonia are bright, of viral ones dark; of one study nothing is said."""
    pool = [*small_studies["train"]]

    def split(name, number):
        rows = []
        for index in range(number):
            kind = index % 2
            row = dict(pool[index % len(pool)])
            row["images"] = [image.point(lambda gray, kind=kind: gray // (1 + 4 * kind)) for image in row["images"]]
            row["findings"], row["impression"] = f"There is {KINDS[kind]}.", ""
            row["study_id"] = row["subject_id"] = f"{name} {index}"
            rows.append(row)
        rows[0]["findings"] = "The lungs are clear."
        return datasets.Dataset.from_list(rows, features=FEATURES)

    folder = tmp_path_factory.mktemp("probe") / "studies"
    datasets.DatasetDict({"train": split("train", 24), "test": split("test", 12)}).save_to_disk(str(folder))
    return folder


def quietly(total, words):
    return lambda amount: None


@pytest.fixture(scope="module")
def document(studies, generator, tiny_checkpoint):
    config = ProbeConfig(checkpoint=str(tiny_checkpoint), dataset=studies, statements=KINDS, num_resamples=50)
    return probe(config, generator, quietly)


def test_what_the_features_know_is_found_on_other_patients_and_gone_with_their_images(document):
    assert document["auroc"]["value"] == 1
    assert document["auroc_shuffled"]["value"] < 0.9
    assert (document["num_learned"], document["num_studies"]) == (23, 11)


def test_the_figure_is_the_auroc_of_the_scores_told(document):
    scores = np.array([study["log_odds"] for study in document["studies"]])
    is_first = np.array([study["stated"] == KINDS[0] for study in document["studies"]])
    assert ranking_scores(scores, is_first, np.ones((1, len(scores))))["auroc"][0] == document["auroc"]["value"]


def test_the_order_of_the_statements_turns_the_scores_alone(document, studies, generator, tiny_checkpoint):
    config = ProbeConfig(checkpoint=str(tiny_checkpoint), dataset=studies, statements=KINDS[::-1], num_resamples=50)
    turned = probe(config, generator, quietly)
    assert turned["auroc"]["value"] == document["auroc"]["value"]
    assert np.allclose(
        [study["log_odds"] for study in turned["studies"]],
        [-study["log_odds"] for study in document["studies"]],
        atol=0.01,
    )


def test_what_no_report_says_cannot_be_asked(studies, generator):
    config = ProbeConfig(dataset=studies, statements=("bacterial pneumonia", "fungal pneumonia"))
    with pytest.raises(ValueError, match=r"no report of the train split .* makes the statement 'fungal pneumonia'"):
        probe(config, generator, quietly)


def test_the_program_tells_and_writes(studies, tiny_checkpoint, tmp_path, capsys):
    output = tmp_path / "made" / "probe.json"
    flags = ["--checkpoint", str(tiny_checkpoint), "--dataset", str(studies), "--num-resamples", "20"]
    main([*flags, "--statements", *KINDS, "--output", str(output)])
    assert "auroc: 1.000" in capsys.readouterr().out
    assert '"auroc_shuffled"' in output.read_text(encoding="utf-8")
