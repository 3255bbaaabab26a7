"""The file of predictions: recovery after a killed process, and rejected content."""

import pytest

from eval.predictions.prediction import AppendedLines, Prediction, Rejection, read_lines, write_lines

FIRST = Prediction(
    study_id="a", report="Findings: große Ergüsse.", probabilities=(0.5,) * 14, reference_labels=(1,) * 14
)
SECOND = Prediction(study_id="b", report="", mean_token_log_probability=-0.5, control="shuffled images")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with AppendedLines(path) as lines:
        lines.write(FIRST)
        lines.write(SECOND)
    return path


def test_predictions_are_read_back_unchanged(path):
    assert read_lines(path, Prediction) == [FIRST, SECOND]


def test_line_is_on_disk_before_the_file_is_closed(tmp_path):
    with AppendedLines(tmp_path / "p.jsonl") as lines:
        lines.write(FIRST)
        assert read_lines(tmp_path / "p.jsonl", Prediction) == [FIRST]


@pytest.mark.parametrize("kept_bytes", [1, 40, 150])
def test_truncated_last_line_is_dropped_and_can_be_written_again(path, kept_bytes):
    text = path.read_bytes()
    path.write_bytes(text[: text.index(b"\n") + 1 + kept_bytes])
    assert read_lines(path, Prediction) == [FIRST]
    with AppendedLines(path) as lines:
        lines.write(SECOND)
    assert read_lines(path, Prediction) == [FIRST, SECOND]


def test_missing_last_line_break_loses_nothing(path):
    path.write_bytes(path.read_bytes()[:-1])
    assert read_lines(path, Prediction) == [FIRST, SECOND]
    third = Prediction(study_id="c", report="x")
    with AppendedLines(path) as lines:
        lines.write(third)
    assert read_lines(path, Prediction) == [FIRST, SECOND, third]


def test_missing_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "none.jsonl", Rejection) == []


def test_broken_line_error_names_the_line(path):
    path.write_bytes(b'{"study_id": \n' + path.read_bytes())
    with pytest.raises(ValueError, match=r"predictions.jsonl, line 1: is not JSON"):
        read_lines(path, Prediction)


def test_unknown_key_error_suggests_a_known_key(path):
    path.write_text('{"study_id": "a", "report": "x", "reprot": "y"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: unknown key 'reprot'; did you mean 'report'"):
        read_lines(path, Prediction)


def test_very_long_line_is_rejected(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"x" * 3_000_000)
    with pytest.raises(ValueError, match="line 1: longer than 1000000 bytes"):
        read_lines(path, Prediction)


def test_labels_and_probabilities_must_have_14_entries():
    with pytest.raises(ValueError, match="study a: reference_labels must be 14 codes"):
        Prediction(study_id="a", report="", reference_labels=(1,))
    with pytest.raises(ValueError, match="study a: needs 14 probabilities, one per finding, got 2"):
        Prediction(study_id="a", report="", probabilities=(0.1, 0.2))


def test_thresholds_peaks_and_boxes_are_read_back_and_validated(tmp_path):
    pointing = Prediction(
        study_id="a", report="", thresholds=(0.5,) * 14, peaks=((1, 0.25, -0.1),) * 14, boxes=((4, 1, 0, 0, 0.5, 1),)
    )
    write_lines(tmp_path / "p.jsonl", [pointing])
    assert read_lines(tmp_path / "p.jsonl", Prediction) == [pointing]
    with pytest.raises(ValueError, match="study a: needs 14 peaks, one per finding, got 1"):
        Prediction(study_id="a", report="", peaks=((0, 0.5, 0.5),))
    with pytest.raises(ValueError, match=r"study a: a peak has 3 numbers, got \[0.5, 0.5\]"):
        Prediction(study_id="a", report="", peaks=((0.5, 0.5),) * 14)
    with pytest.raises(ValueError, match=r"study a: a box has 6 numbers, got \[4, 0\]"):
        Prediction(study_id="a", report="", boxes=((4, 0),))
    with pytest.raises(ValueError, match=r"study a: a box has finding 14; findings are numbered 0 to 13"):
        Prediction(study_id="a", report="", boxes=((14, 0, 0, 0, 1, 1),))


def test_writing_a_file_leaves_no_partial_file(path):
    write_lines(path, [SECOND])
    assert read_lines(path, Prediction) == [SECOND]
    assert [file.name for file in path.parent.iterdir()] == ["predictions.jsonl"]


def test_old_spelling_of_a_key_is_read(tmp_path):
    (tmp_path / "old.jsonl").write_text('{"study_id": "a", "report": "", "neighbour_study_id": "b"}\n')
    [prediction] = read_lines(tmp_path / "old.jsonl", Prediction)
    assert prediction.neighbor_study_id == "b"
