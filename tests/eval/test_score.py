"""`python -m eval.score` as users run it: on any files, from any folder, without a model."""

import json
import random
import subprocess
import sys

import pytest

from eval.score import main
from vlm.schema.findings import FINDING_INDEX, NUM_FINDINGS

SENTENCES = {
    "The heart is enlarged.": "The heart is normal in size.",
    "There is a left pleural effusion.": "No pleural effusion.",
    "There is pulmonary edema.": "No edema.",
    "There is a right lower lobe consolidation.": "The lungs are clear.",
}
CONSTANT = "The heart is normal in size. The lungs are clear. No pleural effusion."
NUM_STUDIES = 40


def synthetic(seed: int) -> list[str]:
    chooser = random.Random(seed)
    return [
        " ".join(ill if chooser.random() < 0.3 else well for ill, well in SENTENCES.items()) for _ in range(NUM_STUDIES)
    ]


TRUTH = synthetic(0)


def write_jsonl(path, reports: list[str], **columns: list):
    rows = [
        {"study_id": f"s{number}", "report": report} | {name: values[number] for name, values in columns.items()}
        for number, report in enumerate(reports)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def score(tmp_path):
    def run(predictions: list[str], *options: str, columns: dict | None = None):
        given = write_jsonl(tmp_path / "predictions.jsonl", predictions, **(columns or {}))
        truth = write_jsonl(tmp_path / "references.jsonl", TRUTH)
        return main([str(given), str(truth), "--output-dir", str(tmp_path / "out"), "--num-resamples", "60", *options])

    return run


def test_constant_report_is_recognized_in_the_verdict(score, tmp_path, capsys):
    document = score([CONSTANT] * NUM_STUDIES)
    assert document["verdict"]["uses_image"] == "no"
    assert document["verdict"]["image"].startswith("The same report for all 40 patients: macro-F1 (14) ")
    assert document["verdict"]["basis"] == "shuffled reports"
    assert document["verdict"]["facts"][0].startswith("1 report for 40 patients (the references: ")
    assert any(
        "no higher than reporting “no finding” for every patient" in fact for fact in document["verdict"]["facts"]
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "The same report for all 40 patients" in printed
    assert "Report error score " in printed and "Errors per report: missing finding " in printed
    assert "40 predictions given = 40 scored + 0 rejected" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The same report for all 40 patients" in page
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == document


def test_few_alternating_reports_are_recognized_in_the_verdict(score):
    document = score([f"{CONSTANT} No edema." if number % 2 else CONSTANT for number in range(NUM_STUDIES)])
    assert document["verdict"]["image"].startswith(
        "Only 2 different reports for 40 patients. There is no sign that the reports depend on the patient: "
    )


def test_random_reports_do_not_depend_on_the_patient(score):
    document = score(synthetic(5))
    assert document["verdict"]["uses_image"] == "no"
    model, shuffled = (document["systems"][name]["metrics"]["macro_f1"] for name in ("model", "shuffled reports"))
    assert abs(model["value"] - shuffled["value"]) < 0.2


def test_reference_reports_depend_on_the_patient_without_a_claim_about_the_image(score):
    document = score(TRUTH)
    assert document["verdict"]["uses_image"] == "yes"
    assert document["verdict"]["image"].startswith("The reports depend on the patient: macro-F1 (14) 1.000 against ")
    assert document["verdict"]["differences_to_shuffled_images"] == {}
    assert document["verdict"]["differences"]["shuffled reports"]["macro_f1"]["low"] > 0
    for metric in ("macro-F1 (14)", "CIDEr", "BLEU-4"):
        assert any(
            fact.startswith(f"Better than one constant report in {metric}") for fact in document["verdict"]["facts"]
        )


def test_all_controls_are_scored(score):
    document = score(TRUTH)
    assert list(document["systems"]) == [
        "model", "shuffled reports", "random report", "constant by macro-F1", "constant sentence",
        "constant by BLEU-4", "most frequent report",
    ]  # fmt: skip
    assert any("chosen on the references of other patients" in note for note in document["notes"])


def test_table_fits_into_80_columns(score, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    score(TRUTH, columns={"Edema": [0.123] * NUM_STUDIES})
    printed = capsys.readouterr().out
    assert "shuffled" in printed
    assert "AUROC" in printed
    assert "…" not in printed.split("Note")[0]


def test_controls_are_chosen_on_control_reports_and_never_on_scored_ones(score, tmp_path):
    others = [{"study_id": f"t{number}", "report": report} for number, report in enumerate(synthetic(9))]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(others))
    document = score(TRUTH, "--control-reports", str(path))
    assert document["control_reports"]["constant sentence"] in {row["report"] for row in others}
    assert document["run"]["control_reports"]["num_rows"] == NUM_STUDIES
    path.write_text(json.dumps([{"study_id": "s3", "report": "x"}]))
    with pytest.raises(ValueError, match="1 studies of the control reports are also scored, the first is 's3'"):
        score(TRUTH, "--control-reports", str(path))


def test_probabilities_views_and_sources_give_curves_and_groups(score):
    chooser = random.Random(1)
    columns = {
        "Edema": [min(1, chooser.random() + 0.3 * ("pulmonary edema" in report)) for report in TRUTH],
        "view": ["PA", "AP"] * 20,
        "source": ["here"] * 10 + ["there"] * 30,
    }
    document = score(TRUTH, columns=columns)
    edema = next(finding for finding in document["systems"]["model"]["per_finding"] if finding["finding"] == "Edema")
    of_decisions = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")
    for figure in ("auroc", "average_precision", "brier", "calibration_error", *of_decisions):
        assert edema[figure]["low"] <= edema[figure]["value"] <= edema[figure]["high"]
    metrics = document["systems"]["model"]["metrics"]
    for metric, edema_score in (("pooled_calibration_error", "calibration_error"), ("micro_accuracy", "accuracy")):
        assert metrics[metric] == pytest.approx(edema[edema_score])
    assert list(document["curves"]) == ["Edema"]
    groups = document["by_group"]
    assert {kind: [group["group"] for group in groups[kind]] for kind in ("view", "source")} == {
        "view": ["AP", "PA"],
        "source": ["there", "here"],
    }
    assert [group["num_studies"] for group in groups["source"]] == [30, 10]
    assert sum(group["num_studies"] for group in groups["report length"]) == NUM_STUDIES


def test_thresholds_peaks_and_boxes_of_eval_batch_are_used(score, tmp_path, capsys):
    cardiomegaly = FINDING_INDEX["Cardiomegaly"]
    columns = {
        "probabilities": [[0.4] * NUM_FINDINGS] * NUM_STUDIES,
        "thresholds": [[0.3] * NUM_FINDINGS] * NUM_STUDIES,
        "peaks": [[[0, 0.2, 0.2]] * NUM_FINDINGS] * NUM_STUDIES,
        "boxes": [[[cardiomegaly, 0, 0.1, 0.1, 0.3, 0.3]]] * NUM_STUDIES,
    }
    document = score(TRUTH, columns=columns)
    enlarged = sum("heart is enlarged" in report for report in TRUTH)
    disagreement = document["consistency"]["per_finding"][cardiomegaly]
    assert (disagreement["report_only"], disagreement["classifier_only"]) == (0, NUM_STUDIES - enlarged)
    assert document["grounding"]["num_scored"] == enlarged
    assert document["grounding"]["all"]["model"]["value"] == 1

    given = write_jsonl(tmp_path / "broken.jsonl", TRUTH, peaks=[[["left"] * 3]] * NUM_STUDIES)
    with pytest.raises(ValueError, match=r"broken.jsonl, row 1.*peaks must be a list of lists of numbers"):
        main([str(given), str(tmp_path / "references.jsonl")])


def test_single_report_has_scores_but_no_interval_and_no_verdict(tmp_path):
    given = write_jsonl(tmp_path / "one.jsonl", TRUTH[:1])
    truth = write_jsonl(tmp_path / "truth.jsonl", TRUTH[:1])
    document = main([str(given), str(truth), "--output-dir", str(tmp_path / "out")])
    rouge = document["systems"]["model"]["metrics"]["rouge_l"]
    assert (rouge["value"], rouge["low"], rouge["high"]) == (1.0, None, None)
    assert document["verdict"]["uses_image"] == "unknown"
    assert "all studies are of one patient, so there are no intervals" in document["notes"]
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000


def test_cider_of_a_single_study_is_undefined_and_a_note_says_so(tmp_path):
    path = write_jsonl(tmp_path / "one.jsonl", [CONSTANT])
    document = main([str(path), str(path), "--output-dir", str(tmp_path / "out"), "--num-resamples", "5"])
    metrics = document["systems"]["model"]["metrics"]
    assert (metrics["cider"]["value"], metrics["plain_cider"]["value"]) == (None, None)
    assert metrics["bleu_1"]["value"] == pytest.approx(1)
    assert any(note.startswith("CIDEr is not defined") for note in document["notes"])


def test_subgroups_have_scores_with_intervals_and_small_groups_are_counted(score, capsys):
    sex = ["F"] * 25 + ["M"] * 12 + [None] * 3
    columns = {"sex": sex, "age": [f"{20 + number:03d}Y" for number in range(40)]}
    document = score(TRUTH, "--subgroups", "sex", "age", columns=columns)
    by_sex = document["subgroups"]["sex"]
    assert [(group["group"], group["num_studies"]) for group in by_sex["groups"]] == [("F", 25)]
    assert by_sex["groups"][0]["metrics"]["macro_f1"]["low"] == 1.0
    reason = "fewer than 20 studies"
    assert by_sex["rejected"] == [
        {"group": "M", "num_studies": 12, "reason": reason},
        {"group": "not given", "num_studies": 3, "reason": reason},
    ]
    assert document["subgroups"]["age"]["groups"] == []
    assert sum(group["num_studies"] for group in document["subgroups"]["age"]["rejected"]) == 40
    assert any(note.startswith("subgroups by sex: 15 studies in 2 groups are not scored") for note in document["notes"])
    assert "By sex" in capsys.readouterr().out


def test_finding_without_a_positive_case_is_null_and_not_zero(score):
    findings = score(TRUTH)["systems"]["model"]["per_finding"]
    fracture = next(finding for finding in findings if finding["finding"] == "Fracture")
    assert (fracture["support"], fracture["f1"]["value"], fracture["recall"]["value"]) == (0, None, None)


def test_one_file_can_hold_predictions_and_references(tmp_path):
    path = tmp_path / "both.json"
    studies = {
        f"s{number}": {"model_prediction": report, "section_findings": report, "section_impression": float("nan")}
        for number, report in enumerate(TRUTH)
    }
    path.write_text(json.dumps(studies))
    document = main([str(path), "--num-resamples", "20"])
    assert document["run"]["predictions"]["format"].startswith("ReXrank's")
    assert document["systems"]["model"]["metrics"]["bleu_4"]["value"] == pytest.approx(1.0)
    path.write_text(json.dumps({f"s{number}": report for number, report in enumerate(TRUTH)}))
    with pytest.raises(ValueError, match=r"has one report per study \(column 'report'\); give a second file"):
        main([str(path)])


def test_reference_vocabulary_is_recorded(score, tmp_path):
    training = tmp_path / "annotation.json"
    rows = [{"id": f"t{number}", "report": "the heart is normal in size ."} for number in range(5)]
    training.write_text(json.dumps({"train": rows, "val": [], "test": []}))
    document = score(TRUTH, "--normalization", "r2gen", "--reference-vocabulary", str(training))
    assert document["normalization"]["name"] == "r2gen"
    assert "in 5 training reports replaced by <unk>" in document["normalization"]["options"]["references"]


def test_missing_learned_metric_gives_a_note_and_the_rest_is_scored(score, capsys):
    document = score(TRUTH, "--extra-metrics", "meteor=/nowhere")
    assert document["extra_metrics"] == {}
    assert any(note.startswith("meteor was not scored: ") for note in document["notes"])
    assert document["systems"]["model"]["metrics"]["macro_f1"]["value"] == 1.0
    with pytest.raises(SystemExit):
        score(TRUTH, "--extra-metrics", "blue=x")
    assert "'blue=x'" in capsys.readouterr().err


def test_ids_with_brackets_are_printed_unchanged(tmp_path, capsys):
    rows = [{"study_id": f"[/red]{number}", "report": ""} for number in range(3)]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows))
    truth = tmp_path / "y.json"
    truth.write_text(json.dumps([row | {"report": text} for row, text in zip(rows, TRUTH, strict=False)]))
    main([str(path), str(truth), "--num-resamples", "5"])
    assert "'[/red]0'" in capsys.readouterr().out


def test_program_runs_from_any_folder_without_loading_torch(tmp_path):
    write_jsonl(tmp_path / "p.jsonl", TRUTH)
    write_jsonl(tmp_path / "r.jsonl", TRUTH)
    program = (
        "import sys; from eval.score import main; main(['p.jsonl', 'r.jsonl', '--num-resamples', '5', "
        "'--output-dir', 'out']); print([name for name in ('torch', 'transformers', 'vlm.model', 'datasets') "
        "if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_user_error_is_one_line(tmp_path):
    command = [sys.executable, "-m", "eval.score", "nothing.jsonl", "nothing.jsonl"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 2
    assert ran.stderr.strip() == "error: nothing.jsonl is not a file; give one in CSV, JSONL, JSON or Parquet"
