"""On which side reports put what they find."""

import pytest

from eval.predictions import Prediction, write_lines
from eval.sides import ANSWERS, main, sides, stated_sides
from vlm.findings import FINDING_INDEX

REFERENCE = "Findings: There is a small left pneumothorax. No right pleural effusion."


def predicted(report, number=0, reference=REFERENCE):
    return Prediction(study_id=f"s{number}", subject_id=f"p{number}", report=report, reference=reference)


@pytest.mark.parametrize(
    ("report", "answer"),
    [
        ("Findings: Left apical pneumothorax. Right rib fracture.", "same side"),
        ("Findings: Right apical pneumothorax.", "other side"),
        ("Findings: Bilateral pneumothoraces.", "both sides"),
        ("Findings: Left pneumothorax. Impression: Right pneumothorax.", "both sides"),
        ("Findings: There is a pneumothorax.", "no side"),
    ],
)
def test_the_side_is_read_from_the_sentences_that_state_the_finding(report, answer):
    figures = sides([predicted(report)], num_resamples=10)
    assert figures["num_asked"] == 1
    assert {name: figures[name]["value"] for name in ANSWERS} == {name: float(name == answer) for name in ANSWERS}


def test_a_denied_finding_has_no_side():
    assert stated_sides(REFERENCE)[FINDING_INDEX["Pleural Effusion"]] == frozenset()


def test_what_is_not_stated_by_both_or_is_on_both_sides_in_truth_is_not_asked():
    asked = predicted("Findings: Left pneumothorax.")
    others = [
        predicted("Findings: The lungs are clear.", 1),
        predicted("Findings: Left pneumothorax.", 2, "Findings: Bilateral pneumothoraces."),
    ]
    assert sides([asked, *others], num_resamples=10)["num_asked"] == 1
    with pytest.raises(ValueError, match="there is nothing to ask"):
        sides(others)


def test_the_program_tells_of_the_control_too(tmp_path, capsys):
    write_lines(tmp_path / "own.jsonl", [predicted("Findings: Left pneumothorax.", n) for n in range(4)])
    write_lines(tmp_path / "shuffled.jsonl", [predicted("Findings: Right pneumothorax.", n) for n in range(4)])
    output = tmp_path / "sides.json"
    main([str(tmp_path / "own.jsonl"), "--shuffled", str(tmp_path / "shuffled.jsonl"), "--output", str(output)])
    told = capsys.readouterr().out
    assert "model: 4 findings asked: same side 1.000" in told
    assert "shuffled images: 4 findings asked: same side .000" in told
    assert output.is_file()
