"""The linear probe: it separates two statements on new patients if the features do."""

import datasets
import numpy as np
import pytest

from data.study import FEATURES, load_studies
from eval.metrics.probabilities import ranking_scores
from eval.probes.linear_probe import ProbeConfig, figure_lines, main, probe
from eval.probes.prompts import auroc_lines, statement_lines
from vlm.generator import ReportGenerator

KINDS = ("bacterial pneumonia", "viral pneumonia")


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def studies(small_studies, tmp_path_factory):
    """Images of bacterial pneumonia are bright, those of viral pneumonia dark; one study makes no statement."""
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
    return probe(config, generator, load_studies(config.dataset), quietly)


def test_separable_features_give_a_high_auroc_only_with_own_images(document):
    assert document["auroc"]["value"] == 1
    assert document["auroc_shuffled"]["value"] < 0.9
    assert (document["num_learned"], document["num_studies"]) == (23, 11)


def test_auroc_is_that_of_the_saved_scores(document):
    scores = np.array([study["log_odds"] for study in document["studies"]])
    is_first = np.array([study["stated"] == KINDS[0] for study in document["studies"]])
    assert ranking_scores(scores, is_first, np.ones((1, len(scores))))["auroc"][0] == document["auroc"]["value"]


def test_swapped_statements_negate_the_scores(document, studies, generator, tiny_checkpoint):
    config = ProbeConfig(checkpoint=str(tiny_checkpoint), dataset=studies, statements=KINDS[::-1], num_resamples=50)
    swapped = probe(config, generator, load_studies(config.dataset), quietly)
    assert swapped["auroc"]["value"] == document["auroc"]["value"]
    assert np.allclose(
        [study["log_odds"] for study in swapped["studies"]],
        [-study["log_odds"] for study in document["studies"]],
        atol=0.01,
    )


def test_statement_that_no_report_makes_is_rejected(studies, generator):
    config = ProbeConfig(dataset=studies, statements=("bacterial pneumonia", "fungal pneumonia"))
    with pytest.raises(ValueError, match=r"no report of the train split .* makes the statement 'fungal pneumonia'"):
        probe(config, generator, load_studies(config.dataset), quietly)


def test_program_prints_and_writes_the_result(studies, tiny_checkpoint, tmp_path, capsys):
    output = tmp_path / "made" / "probe.json"
    flags = ["--checkpoint", str(tiny_checkpoint), "--dataset", str(studies), "--num-resamples", "20"]
    main([*flags, "--statements", *KINDS, "--output", str(output)])
    assert "AUROC: 1.000" in capsys.readouterr().out
    assert '"auroc_shuffled"' in output.read_text(encoding="utf-8")


def test_undefined_results_and_missing_intervals_are_printed(document):
    undefined = {"value": None, "low": None, "high": None}
    results = {
        "auroc": {"value": 0.75, "low": None, "high": None},
        "auroc_shuffled": undefined,
        "difference": undefined,
    }
    lines = ["AUROC: .750", "AUROC with another patient's images: –", "difference: –"]
    assert list(auroc_lines(results)) == lines
    assert figure_lines(document | results)[1:] == lines
    counts = {"num_stating": [1, 0], "num_patients": 1, "num_left_out": 0, "rejected": [], "prompts": ["x"]}
    shares = {"share_of_reports": 1.0, "mean_probability_of_either": 0.5}
    assert statement_lines(document | results | counts | shares)[1:4] == lines


def test_mistyped_data_set_is_rejected_before_the_model_is_loaded(monkeypatch, tiny_checkpoint, tmp_path):
    monkeypatch.setattr(ReportGenerator, "from_pretrained", lambda *arguments: pytest.fail("the model was loaded"))
    flags = ["--checkpoint", str(tiny_checkpoint), "--dataset", str(tmp_path / "nowhere"), "--statements", *KINDS]
    with pytest.raises(ValueError, match="nowhere is not a prepared data set"):
        main(flags)
