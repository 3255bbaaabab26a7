"""Matching of predictions and references: every study that is left out is reported."""

import json

import pytest

from data.reports.language import looks_english
from eval.predictions.matching import match
from eval.predictions.tables import read_table

TRUTH = [{"study_id": name, "report": f"The heart is large in study {name}.", "subject_id": "p"} for name in "abcd"]


def table(tmp_path, role: str, rows: list):
    path = tmp_path / f"{role}.json"
    path.write_text(json.dumps(rows))
    return read_table(path, role, {})


def matched(tmp_path, rows: list, truth: list = TRUTH, missing="leave-out"):
    return match(table(tmp_path, "prediction", rows), table(tmp_path, "reference", truth), missing)


def predictions(names: str) -> list[dict]:
    return [{"study_id": name, "report": f"The lungs are clear in {name}."} for name in names]


def test_studies_are_matched_by_id_in_the_order_of_the_references(tmp_path):
    both = matched(tmp_path, predictions("dbca"))
    assert [prediction.study_id for prediction in both.predictions] == list("abcd")
    assert both.predictions[1].report == "The lungs are clear in b."
    assert both.predictions[1].reference == "The heart is large in study b."
    assert both.predictions[1].subject_id == "p"
    assert both.predictions[1].reference_labels[1] == 1  # Cardiomegaly, read from the reference
    assert both.notes == ()


def test_unmatched_studies_are_counted_and_named(tmp_path):
    both = matched(tmp_path, predictions("axyz"))
    assert [rejection.study_id for rejection in both.rejected] == ["x", "y", "z"]
    assert (both.num_given, len(both.predictions), both.num_missing, both.num_references) == (4, 1, 3, 4)
    assert "3 predictions have no reference and are not scored, first 'x', 'y', 'z'" in both.notes
    assert both.notes[1].startswith("3 of 4 references have no prediction and are left out, which favors")


def test_files_without_common_studies_are_rejected_with_examples(tmp_path):
    with pytest.raises(
        ValueError, match=r"none of 2 predicted studies is among the 4 references: .* of 'x', 'y', .*'a'"
    ):
        matched(tmp_path, predictions("xy"))


def test_missing_predictions_can_be_empty_or_an_error(tmp_path):
    both = matched(tmp_path, predictions("ab"), missing="empty")
    assert [prediction.report for prediction in both.predictions[2:]] == ["", ""]
    assert both.num_filled == 2
    with pytest.raises(ValueError, match="2 of 4 references have no prediction, first 'c', 'd'"):
        matched(tmp_path, predictions("ab"), missing="error")


def test_duplicate_report_is_dropped_and_different_reports_of_a_study_are_an_error(tmp_path):
    both = matched(tmp_path, predictions("abcda"))
    assert [(rejection.study_id, rejection.reason) for rejection in both.rejected] == [
        ("a", "row 5 repeats the same prediction")
    ]
    assert both.num_given == len(both.predictions) + len(both.rejected)
    rows = [*predictions("ab"), {"study_id": "a", "report": "Edema."}]
    message = "1 rows have a second, different prediction for a study; the first is study 'a' in rows 1 and 3"
    with pytest.raises(ValueError, match=message):
        matched(tmp_path, rows)
    with pytest.raises(ValueError, match="second, different reference"):
        matched(tmp_path, predictions("ab"), [*TRUTH, {"study_id": "a", "report": "Other."}])


def test_empty_predictions_are_scored_with_a_note(tmp_path):
    both = matched(
        tmp_path, [*predictions("ab"), {"study_id": "c", "report": None}, {"study_id": "d", "report": "..."}]
    )
    assert len(both.predictions) == 4
    assert "2 of 4 predictions are empty (no words) and are scored as empty, first 'c', 'd'" in both.notes


def test_study_with_an_empty_reference_is_rejected(tmp_path):
    truth = [*TRUTH[:2], {"study_id": "c", "report": " "}]
    both = matched(tmp_path, predictions("abc"), truth)
    assert [(rejection.study_id, rejection.reason) for rejection in both.rejected] == [("c", "its reference is empty")]


def test_references_that_cannot_be_used_are_noted(tmp_path):
    rows = [*TRUTH, TRUTH[0], {"study_id": "e", "report": 7}]
    notes = matched(tmp_path, predictions("abcde"), rows).notes
    assert "2 rows of the references cannot be used, the first ('a'): row 5 repeats the same reference" in notes
    notes = matched(tmp_path, predictions("abcde"), [*TRUTH, rows[-1]]).notes
    assert "1 rows of the references cannot be used, the first ('e'): row 5: the report is a int, not a text" in notes
    assert not [note for note in matched(tmp_path, predictions("abcd"), TRUTH).notes if "cannot be used" in note]


def test_lists_are_matched_by_position_only_if_lengths_are_equal(tmp_path):
    both = matched(tmp_path, ["w x", "y", "z", ""])
    assert {prediction.study_id: prediction.report for prediction in both.predictions}["b"] == "y"
    assert both.notes[0].startswith("predictions were matched by position")
    with pytest.raises(ValueError, match=r"has no study ids and 2 reports, but .* has 4 rows"):
        matched(tmp_path, ["w x", "y"])


LISTS = {
    "list": lambda texts: list(texts),
    "index": lambda texts: [{"": number, "report": text} for number, text in enumerate(texts)],
}
"""Reports without study ids: a list, and a table with the index that pandas writes."""


@pytest.mark.parametrize("given", LISTS)
@pytest.mark.parametrize("true", LISTS)
def test_two_lists_without_ids_must_have_equal_length(tmp_path, given, true):
    texts = ["Edema.", "Clear lungs.", "Pneumothorax.", "Cardiomegaly."]
    both = matched(tmp_path, LISTS[given](texts), LISTS[true](texts))
    assert [(one.report, one.reference) for one in both.predictions] == list(zip(texts, texts, strict=True))
    for missing in ("leave-out", "empty"):
        message = r"prediction.json has no study ids and 3 reports, but .*reference.json has 4 rows; .* give both files"
        with pytest.raises(ValueError, match=message):
            matched(tmp_path, LISTS[given](texts[1:]), LISTS[true](texts), missing)


def test_ids_that_are_not_the_row_numbers_of_the_references_are_rejected(tmp_path):
    texts = ["Edema.", "Clear lungs.", "Pneumothorax.", "Cardiomegaly."]

    def numbered(start):
        return [{"id": number, "report": text} for number, text in enumerate(texts, start=start)]

    both = matched(tmp_path, numbered(1), texts)
    assert [one.report for one in both.predictions] == [one.reference for one in both.predictions] == texts
    with pytest.raises(ValueError, match=r"the ids of .*prediction.json are not its row numbers 1 to 4 \(first '0'\)"):
        matched(tmp_path, numbered(0), texts)
    with pytest.raises(ValueError, match=r"reference.json has no study ids and 4 reports, but .* has 3 rows"):
        matched(tmp_path, numbered(1)[1:], texts)


def test_study_ids_count_if_there_is_a_column_of_positions_too(tmp_path):
    rows = [row | {"position": number} for number, row in enumerate(predictions("ba"))]
    both = matched(tmp_path, rows)
    assert [prediction.report for prediction in both.predictions] == [
        "The lungs are clear in a.",
        "The lungs are clear in b.",
    ]


def test_text_in_another_language_gives_a_note(tmp_path):
    rows = [*predictions("abc"), {"study_id": "d", "report": "No se observa derrame pleural en el estudio actual."}]
    assert any(
        note.startswith("1 of 4 predictions may not be English, first 'd'") for note in matched(tmp_path, rows).notes
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lungs are clear.", True),
        ("lungs clear bilaterally no effusion", True),
        ("Cardiomegaly.", True),
        ("", True),
        ("Kein Pleuraerguss. Herz normal groß, in der Norm.", False),
        ("Pas d'épanchement pleural. Silhouette cardiaque normale.", False),
        ("心脏不大。两肺清晰。", False),
        ("%PDF-1.7 xref trailer startxref endobj obj stream", False),
    ],
)
def test_english_is_distinguished_from_other_text(text, expected):
    assert looks_english(text) is expected
