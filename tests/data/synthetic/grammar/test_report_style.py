"""Reports in one report style."""

import pytest

from data.prepare import main
from data.reports.labeler.labeler import label_report
from data.study import load_studies
from data.synthetic.source import make_study


def _studies(report_style, num_studies=150):
    return [make_study(4, index, 32, report_style=report_style) for index in range(num_studies)]


@pytest.fixture(scope="module")
def of_all():
    return _studies(0)


@pytest.fixture(scope="module")
def of_one():
    return _studies(1)


def test_a_report_style_uses_fewer_sentences_for_the_same_images(of_all, of_one):
    for own, other in zip(of_one, of_all, strict=True):
        assert own.images[0].tobytes() == other.images[0].tobytes()
        assert own.boxes == other.boxes
    sentences = [
        {sentence for study in studies for sentence in study.report.split(". ")} for studies in (of_all, of_one)
    ]
    assert len(sentences[1]) < 0.75 * len(sentences[0])


def test_each_report_style_has_its_own_fixed_wordings(of_one):
    assert [study.report for study in _studies(1, 10)] == [study.report for study in of_one[:10]]
    assert {study.impression for study in _studies(2)} != {study.impression for study in of_one}


def test_reports_of_a_style_agree_with_their_labels(of_one):
    for study in of_one:
        assert tuple(label_report(study.report)) == study.labels


def test_a_data_set_can_have_one_report_style(tmp_path, capsys):
    arguments = ["synthetic", "--num-studies", "8", "--size", "64", "--num-workers", "1", "--report-style", "1"]
    main([*arguments, "--out", str(tmp_path / "studies")])
    studies = load_studies(tmp_path / "studies")
    rows = {row["study_id"]: row for split in studies.values() for row in split}
    for index in range(8):
        study = make_study(0, index, 64, report_style=1)
        assert rows[study.study_id]["findings"] == study.findings
    with pytest.raises(SystemExit):
        main([*arguments[:-1], "-1", "--out", str(tmp_path / "none")])
    assert "--report-style is -1; give its number, or 0" in " ".join(capsys.readouterr().err.replace("│", " ").split())
