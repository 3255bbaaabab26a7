"""The statements probe: found in reports, scored by the decoder, compared with other patients' images."""

import json

import datasets
import numpy as np
import pytest
from scipy.special import logsumexp

from data.study import FEATURES, load_studies
from eval.metrics.probabilities import ranking_scores
from eval.probes.prompts import Prompt, count_prompts, which_stated
from eval.probes.statements import StatementsConfig, evaluate_statements, log_probabilities, main
from vlm.checkpoint.store import Checkpoint, save_checkpoint
from vlm.generator import ReportGenerator
from vlm.uncertainty import Calibration

KINDS = ("bacterial pneumonia", "viral pneumonia")
FINDINGS = {
    0: ("There is bacterial pneumonia.", "Bacterial pneumonia is seen.", "The lungs are clear."),
    1: ("There is viral pneumonia.", "Viral pneumonia.", "There is viral pneumonia, no bacterial pneumonia."),
}


@pytest.fixture(scope="module")
def stating(small_studies, tmp_path_factory):
    """Twelve studies: four with each kind, four with neither or both. Every second one has an indication."""
    rows = [*small_studies["train"]][:12]
    for number, row in enumerate(rows):
        row["findings"], row["impression"] = FINDINGS[number % 2][number // 2 % 3], "Pneumonia."
        row["indication"] = "Cough." if number % 4 == 1 else ""
        row["subject_id"] = f"patient {number}"
    split = datasets.Dataset.from_list(rows, features=FEATURES)
    folder = tmp_path_factory.mktemp("statements") / "studies"
    datasets.DatasetDict({"validation": split}).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def document(stating, tiny_checkpoint):
    config = StatementsConfig(checkpoint=str(tiny_checkpoint), dataset=stating, statements=KINDS, batch_size=3)
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    return evaluate_statements(config, generator, load_studies(stating), lambda total, words: lambda amount: None)


@pytest.mark.parametrize(
    ("report", "stated"),
    [
        ("Findings: There is bacterial pneumonia.", 0),
        ("Findings: Viral\npneumonia is seen.", 1),
        ("Findings: VIRAL PNEUMONIA. Impression: Viral pneumonia.", 1),
        ("Findings: Viral pneumonia. Impression: Bacterial pneumonia.", None),
        ("Findings: Antiviral pneumonias.", None),
        ("", None),
    ],
)
def test_statement_is_found_by_its_words(report, stated):
    assert which_stated(report, KINDS) == stated


def test_longer_of_two_matching_statements_wins():
    assert which_stated("Findings: No pneumonia.", ("pneumonia", "no pneumonia")) == 1


def test_prompt_ends_before_the_first_statement_and_keeps_its_capital():
    reports = [
        "Findings: There is viral pneumonia. Impression: Viral pneumonia.",
        "Findings: Bacterial pneumonia.",
        "x",
    ]
    counts = count_prompts([*reports, reports[0]], KINDS)
    there, heading = (
        Prompt(text="Findings: There is ", is_capitalized=False),
        Prompt(text="Findings: ", is_capitalized=True),
    )
    assert counts == {there: 2, heading: 1}
    assert there.followed_by(KINDS[0]) == "Findings: There is bacterial pneumonia"
    assert heading.followed_by(KINDS[0]) == "Findings: Bacterial pneumonia"


def test_scores_are_the_log_odds_over_all_prompts(stating, tiny_checkpoint, document):
    assert document["prompts"] == ["Findings: There is ", "Findings: "]
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    rows = {row["study_id"]: row for row in datasets.load_from_disk(str(stating))["validation"]}
    for study in document["studies"]:
        for shown, key in ((study["study_id"], "log_odds"), (study["image_study_id"], "log_odds_shuffled")):
            of_kind = []
            for kind in KINDS:
                texts = [f"Findings: There is {kind}", f"Findings: {kind.capitalize()}"]
                values = [
                    generator.log_probabilities(
                        [rows[shown]["images"]],
                        [text],
                        view_positions=[rows[shown]["view_positions"]],
                        indications=[rows[study["study_id"]]["indication"]],
                    )[0, 0]
                    for text in texts
                ]
                of_kind.append(logsumexp(values))
            assert study[key] == pytest.approx(of_kind[0] - of_kind[1], abs=1e-3)


def test_only_studies_that_state_one_of_the_two_are_used(document):
    assert document["num_studies"] == len(document["studies"]) == 8
    assert document["num_stating"] == [4, 4]
    assert document["num_left_out"] == 4
    assert all(study["image_study_id"] != study["study_id"] for study in document["studies"])


def test_auroc_ranks_the_first_statement_above_the_second(document):
    for key, name in (("log_odds", "auroc"), ("log_odds_shuffled", "auroc_shuffled")):
        scores = {kind: [one[key] for one in document["studies"] if one["stated"] == kind] for kind in KINDS}
        pairs = [(one > other) + 0.5 * (one == other) for one in scores[KINDS[0]] for other in scores[KINDS[1]]]
        assert document[name]["value"] == pytest.approx(np.mean(pairs))
        assert document[name]["low"] <= document[name]["value"] <= document[name]["high"]
    assert document["difference"]["value"] == pytest.approx(
        document["auroc"]["value"] - document["auroc_shuffled"]["value"]
    )


def test_swapped_statements_negate_the_scores(stating, tiny_checkpoint, document):
    config = StatementsConfig(checkpoint=str(tiny_checkpoint), dataset=stating, statements=KINDS[::-1])
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    swapped = evaluate_statements(
        config, generator, load_studies(config.dataset), lambda total, words: lambda amount: None
    )
    odds = [study["log_odds"] for study in document["studies"]]
    assert [-study["log_odds"] for study in swapped["studies"]] == pytest.approx(odds, abs=1e-3)
    assert swapped["auroc"]["value"] == pytest.approx(document["auroc"]["value"])


def test_shared_query_is_computed_once(small_studies, tiny_checkpoint, monkeypatch):
    generator, queried = ReportGenerator.from_pretrained(tiny_checkpoint), []
    answer = generator.log_probabilities
    monkeypatch.setattr(
        generator,
        "log_probabilities",
        lambda images, *rest, **named: queried.extend(images) or answer(images, *rest, **named),
    )
    queries = [("", 0), ("", 1), ("", 0), ("Cough.", 0)]
    answers, rejections = log_probabilities(
        generator, small_studies["train"], queries, (["F"], ["I"]), batch_size=2, advance=lambda amount: None
    )
    assert len(queried) == len(answers) == 3 and not rejections


def test_study_with_a_broken_image_is_rejected_and_the_others_are_used(stating, tiny_checkpoint, tmp_path, capsys):
    plain = datasets.load_from_disk(str(stating))["validation"].cast_column(
        "images", datasets.List(datasets.Image(decode=False))
    )
    rows = plain.to_list()
    rows[0]["images"][0]["bytes"] = rows[0]["images"][0]["bytes"][:40]
    broken = datasets.Dataset.from_list(rows, features=FEATURES)
    datasets.DatasetDict({"validation": broken}).save_to_disk(str(tmp_path / "broken"))
    output = tmp_path / "new" / "statements.json"
    options = ["--dataset", str(tmp_path / "broken"), "--statements", *KINDS, "--output", str(output)]
    main(["--checkpoint", str(tiny_checkpoint), *options, "--num-resamples", "20"])
    saved = json.loads(output.read_text())
    assert saved["num_studies"] == 7
    assert [rejection["study_id"] for rejection in saved["rejected"]] == [rows[0]["study_id"]]
    printed = " ".join(capsys.readouterr().out.split())
    assert f"1 studies were rejected, first {rows[0]['study_id']}" in printed
    assert "'bacterial pneumonia' (3 studies) versus 'viral pneumonia' (4 studies)" in printed


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (("pneumonia", "pneumonia of the left lung"), "one starts with the other; give two that differ in"),
        (("Viral", "viral"), "one starts with the other"),
        (("", "viral"), "--statements has an empty statement"),
    ],
)
def test_statements_that_cannot_be_distinguished_are_rejected(statements, message):
    with pytest.raises(ValueError, match=message):
        StatementsConfig(checkpoint="c", dataset="d", statements=statements)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("validation", "no report of the validation split of .* makes the statement 'fungal pneumonia'"),
        ("test", "has no studies in its test split"),
    ],
)
def test_split_without_the_statement_is_rejected(split, message, stating, tiny_checkpoint):
    statements = ["--statements", "fungal pneumonia", "viral pneumonia"]
    with pytest.raises(ValueError, match=message):
        main(["--checkpoint", str(tiny_checkpoint), "--dataset", str(stating), "--split", split, *statements])


def test_model_that_writes_no_reports_is_rejected(stating, build_model, tiny_tokenizer, tmp_path):
    model = build_model(writes_reports=False)
    save_checkpoint(
        tmp_path / "silent", Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=Calibration(num_studies=1))
    )
    with pytest.raises(ValueError, match="writes no reports, so it has no probability of a statement"):
        main(["--checkpoint", str(tmp_path / "silent"), "--dataset", str(stating), "--statements", *KINDS])


def test_ranking_scores_equal_scikit_learn():
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(0)
    scores, positive = random.normal(size=60).round(1) * 7, random.random(60) < 0.4
    weights = random.integers(0, 3, size=(5, 60)).astype(float)
    found = ranking_scores(scores, positive, weights)
    for row in range(5):
        assert found["auroc"][row] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights[row]))
        expected = average_precision_score(positive, scores, sample_weight=weights[row])
        assert found["average_precision"][row] == pytest.approx(expected)
