"""Controls of views: another patient's lateral or frontal views, and one kind of view alone."""

import re
from dataclasses import replace

import datasets
import pytest
from PIL import Image

from data.study import FEATURES
from eval.predictions.prediction import Prediction, read_lines
from eval.report.tables import view_lines
from eval.scoring.views import VIEW_CONTROLS, views_document
from tests.helpers.fake_generator import FakeGenerator, make_row
from vlm.schema.findings import LATERAL, view_index, views_shown

LATERAL_LEVEL = 100
"""The gray level of a lateral view is that of the frontal view and this number."""


def two_view_row(number: int, split: str) -> dict:
    """A study with a frontal and a lateral view, or every fourth with a frontal view alone."""
    views = [("PA", number), ("LATERAL", LATERAL_LEVEL + number)][: 1 if number % 4 == 0 else 2]
    positions, levels = zip(*views, strict=True)
    images = [Image.new("L", (8, 8), level) for level in levels]
    return make_row(number, split) | {"images": images, "view_positions": list(positions)}


class ViewGenerator(FakeGenerator):
    """Reads one kind of view only, and calls a study without it normal (level 0). It records all levels."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.views = kind, []

    def generate(self, images, view_positions=None, indications=None, priors=None, options=None):
        if options.max_new_tokens > 1:  # not for the page, which asks for the attention alone
            self.views += [[image.getpixel((0, 0)) for image in views] for views in images]
        read = [
            [
                Image.new("L", (8, 8), image.getpixel((0, 0)) % LATERAL_LEVEL)
                for image, position in zip(views, positions, strict=True)
                if (view_index(position) == LATERAL) == (self.kind == "lateral")
            ]
            for views, positions in zip(images, view_positions, strict=True)
        ]
        read = [views or [Image.new("L", (8, 8), 0)] for views in read]
        positions = [["PA"] * len(views) for views in read]
        return super().generate(read, positions, indications, priors, options)


@pytest.fixture(scope="module")
def two_view_studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views") / "studies"
    rows = datasets.Dataset.from_list([two_view_row(number, "test") for number in range(16)], features=FEATURES)
    datasets.DatasetDict(test=rows).save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def both_views():
    return [number for number in range(16) if number % 4]


def lines(folder, control: str) -> dict[str, Prediction]:
    name = f"predictions_{control.replace(' ', '_')}" if control else "predictions"
    return {one.study_id: one for one in read_lines(folder / f"{name}.jsonl", Prediction)}


def test_controls_show_their_own_views_and_the_verdict_says_which_view_is_used(
    run_batch, two_view_studies, both_views, metrics, capsys
):
    generator = ViewGenerator("frontal")
    folder = run_batch("--controls", "views", generator=generator, dataset=two_view_studies)
    check_shown(folder, generator, both_views)
    document = metrics(folder)
    views, facts = document["views"], document["verdict"]["facts"]
    assert (views["num_studies"], views["num_patients"]) == (12, 8)
    assert views["grades"] == {"lateral": "no", "frontal": "yes"}
    systems = views["systems"]
    assert systems["another lateral"]["differences"]["macro_f1"]["value"] == 0
    assert systems["another lateral"]["rates"]["other_findings"]["value"] == 0
    assert systems["no lateral"]["metrics"]["macro_f1"]["value"] == 1
    assert systems["no frontal"]["metrics"]["macro_f1"]["value"] < 0.3
    assert systems["another frontal"]["metrics"]["macro_f1"]["value"] < 0.8
    assert facts[: len(views["facts"])] == views["facts"]
    assert document["verdict"]["outperformed_by"] == ""
    said = " ".join(capsys.readouterr().out.split())
    start = (
        "On the 12 studies with a frontal and a lateral view: There is no sign that the reports use the lateral view"
    )
    assert f"{start}: macro-F1 1.000 against 1.000 with another patient's lateral view" in said
    assert "The reports use the frontal view: macro-F1 1.000 against" in said
    assert "The finding probabilities depend on the frontal view: macro AUROC 1.000 against" in said
    assert "There is no sign that the lateral view makes the reports better than the frontal view alone:" in said
    assert "The frontal view makes the reports better than the lateral view alone: differences macro-F1 1.000" in said
    page = re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text(encoding="utf-8"))
    assert "Do the reports use both views?" in page and all(control in page for control in VIEW_CONTROLS)
    lines_of_results = view_lines(document)
    assert lines_of_results[0] == "12 studies have a frontal and a lateral view:"
    assert sum(line.startswith("| no lateral |") for line in lines_of_results) == 1


def check_shown(folder, generator, both_views):
    own, num = lines(folder, ""), len(both_views)
    assert len(generator.views) == 16 + len(VIEW_CONTROLS) * num
    starts = range(16, len(generator.views), num)
    shown = {name: generator.views[start:][:num] for name, start in zip(VIEW_CONTROLS, starts, strict=True)}
    assert shown["no lateral"] == [[number] for number in both_views]
    assert shown["no frontal"] == [[LATERAL_LEVEL + number] for number in both_views]
    for control in ("another lateral", "another frontal"):
        written = lines(folder, control)
        for number, views in zip(both_views, shown[control], strict=True):
            one = written[f"test{number:02d}"]
            donor = int(one.image_study_id.removeprefix("test"))
            assert donor in both_views and own[one.image_study_id].subject_id != one.subject_id
            frontal, lateral = (number, donor) if control == "another lateral" else (donor, number)
            assert views == [frontal, LATERAL_LEVEL + lateral]
    for control in VIEW_CONTROLS:  # studies with one kind of view keep their report
        written = lines(folder, control)
        assert list(written) == list(own)
        assert all(written[f"test{n:02d}"].report == own[f"test{n:02d}"].report for n in range(0, 16, 4))


def test_studies_without_a_second_view_have_no_control_and_the_note_says_why(
    run_batch, two_view_studies, tmp_path, metrics
):
    splits = datasets.load_from_disk(two_view_studies)
    splits["test"] = splits["test"].select(range(0, 16, 4))
    splits.save_to_disk(tmp_path / "frontal")
    document = metrics(
        run_batch("--controls", "views", generator=ViewGenerator("frontal"), dataset=tmp_path / "frontal")
    )
    assert list(document["systems"]) == ["model"] and document["views"] is None
    assert "no control 'another lateral': no study has both a frontal and a lateral view" in document["notes"]


def test_views_of_one_patient_cannot_be_exchanged(run_batch, two_view_studies, tmp_path, metrics):
    splits = datasets.load_from_disk(two_view_studies)
    rows = splits["test"]
    subjects = [f"s{n}" if n % 4 == 0 else "a" for n in range(16)]
    splits["test"] = rows.remove_columns("subject_id").add_column("subject_id", subjects).cast(FEATURES)
    splits.save_to_disk(tmp_path / "one")
    document = metrics(run_batch("--controls", "views", generator=ViewGenerator("frontal"), dataset=tmp_path / "one"))
    assert list(document["systems"]) == ["model", "no lateral", "no frontal"]
    assert document["views"]["grades"] == {}
    assert any("one patient has more than half of the studies with both views" in note for note in document["notes"])


def test_values_by_hand():
    """Two patients; another lateral view changes the findings of one report and one of 14 probabilities by .7."""
    edema, none = "There is pulmonary edema.", "The lungs are clear."
    labels = [0] * 4 + [1] + [0] * 9
    kept = {"view_positions": ("PA", "LATERAL"), "reference": edema, "reference_labels": tuple(labels)}
    sure = tuple(0.8 if label else 0.1 for label in labels)
    own = [Prediction(study_id=i, subject_id=i, report=edema, probabilities=sure, **kept) for i in ("a", "b")]
    frontal = Prediction(study_id="c", subject_id="c", report=none, view_positions=("PA",), probabilities=sure)
    unsure = tuple(0.1 for _ in labels)
    other = [own[0], replace(own[1], report=none, probabilities=unsure)]
    scoring = {"uncertain_is_positive": True, "num_resamples": 20, "seed": 0}
    document = views_document({"model": [*own, frontal], "another lateral": [*other, frontal]}, scoring)
    assert document["num_studies"] == 2
    control = document["systems"]["another lateral"]
    assert control["rates"]["other_findings"]["value"] == 0.5
    assert control["rates"]["probability_change"]["value"] == pytest.approx(0.7 / 14 / 2)
    # One finding with a reference: recall 1/2, precision 1, F1 2/3; all others are undefined.
    assert control["metrics"]["macro_f1"]["value"] == pytest.approx(2 / 3)
    assert control["differences"]["macro_f1"]["value"] == pytest.approx(1 / 3)
    assert views_document({"model": own}, scoring) is None


def test_views_in_words():
    assert views_shown(["PA", "LATERAL", "AP"]) == "frontal and lateral"
    assert (views_shown(["LL", "RL"]), views_shown(["PA"])) == ("lateral only", "frontal only")
    assert (views_shown(["UNKNOWN"]), views_shown([])) == ("frontal only", "no view")
