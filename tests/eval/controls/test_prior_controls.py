"""Controls of prior studies: another patient's prior, the study as its own prior, and none."""

import dataclasses
import re
from dataclasses import replace

import datasets
import numpy as np
import pytest
from PIL import Image

from data.study import FEATURES
from eval.predictions.prediction import Prediction, read_lines
from tests.helpers.fake_generator import WORDS, FakeGenerator, make_row
from vlm.schema.findings import CHANGES, UNKNOWN_CHANGES

WITHOUT_PRIOR = 3
"""The first of every three test studies has no prior."""
STATES = {(0, 1): "new", (1, 1): "unchanged", (1, 0): "resolved"}
TEXTS = {"new": "New {}.", "unchanged": "Unchanged {}.", "resolved": "The {} has resolved."}


def states_of(number: int, prior: int) -> dict[int, str]:
    """The change of each finding from the study of number `prior` to that of `number`; their bits are the findings."""
    pairs = {finding: (prior >> bit & 1, number >> bit & 1) for bit, finding in enumerate(WORDS)}
    return {finding: STATES[pair] for finding, pair in pairs.items() if pair in STATES}


def report_on(number: int, prior: int | None) -> str:
    if prior is None:
        return make_row(number, "test")["findings"]
    states = states_of(number, prior).items()
    return " ".join(TEXTS[state].format(WORDS[finding]) for finding, state in states) or "The lungs are clear."


def prior_level(number: int) -> int:
    return 40 + (5 * number + 3) % 8  # the bits 0 to 2 are those of the rest modulo 8


def prior_row(number: int, split: str) -> dict:
    row = make_row(number, split)
    if number % WITHOUT_PRIOR == 0:
        return row
    prior = prior_level(number)
    changes = [CHANGES.index(states_of(number, prior).get(finding, "none")) for finding in range(13)]
    return row | {
        "findings": report_on(number, prior),
        "impression": "",
        "prior_images": [Image.new("L", (8, 8), prior)],
        "prior_view_positions": ["AP"],
        "prior_report": f"Findings: {make_row(prior, 'test')['findings']}",
        "prior_interval_days": 10 + number,
        "changes": [*changes, UNKNOWN_CHANGES[0]],
    }


class ComparingGenerator(FakeGenerator):
    """Compares the gray levels of the study and its prior; `is_blind`: it takes the level 41 for every prior."""

    reads_priors = True

    def __init__(self, *, is_blind: bool = False, **options):
        super().__init__(**options)
        self.is_blind, self.priors = is_blind, []

    def generate(self, images, view_positions=None, indications=None, priors=None, options=None):
        self.priors += priors
        return [
            self._compare(report, views[0].getpixel((0, 0)), prior)
            for report, views, prior in zip(
                super().generate(images, view_positions, indications, None, options), images, priors, strict=True
            )
        ]

    def _compare(self, report, number, prior):
        if prior is None:
            return report
        level = 41 if self.is_blind else prior.images[0].getpixel((0, 0))
        codes = [CHANGES.index(states_of(number, level).get(finding, "none")) for finding in range(14)]
        text = report_on(number, level)
        probabilities = tuple(map(tuple, np.eye(len(CHANGES))[codes].tolist()))
        return replace(report, report=f"Findings: {text}", findings=text, change_probabilities=probabilities)


@pytest.fixture(scope="module")
def prior_studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priors") / "studies"
    splits = {
        split: datasets.Dataset.from_list([prior_row(number, split) for number in range(size)], features=FEATURES)
        for split, size in (("train", 6), ("validation", 6), ("test", 16))
    }
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


def lines(folder, control: str) -> list[Prediction]:
    name = f"predictions_{control.replace(' ', '_')}" if control else "predictions"
    return read_lines(folder / f"{name}.jsonl", Prediction)


def test_model_that_compares_uses_the_prior_and_a_blind_one_does_not(run_batch, prior_studies, metrics, capsys):
    document = metrics(run_batch("--controls", "prior", generator=ComparingGenerator(), dataset=prior_studies))
    assert list(document["systems"]) == ["model", "another prior", "own prior", "no prior"]
    model = document["systems"]["model"]["metrics"]
    assert model["temporal_f1"]["value"] == model["change_accuracy"]["value"] == 1.0
    assert document["systems"]["another prior"]["metrics"]["temporal_f1"]["value"] < 0.8
    assert document["verdict"]["uses_prior"] == "yes"
    assert document["verdict"]["facts"][0] == document["verdict"]["prior"]
    assert "The reports use the prior study: temporal F1 1.000 against" in " ".join(capsys.readouterr().out.split())
    rates = document["prior"]["systems"]
    assert document["prior"]["num_studies"] == 10
    assert rates["own prior"]["unchanged_share"]["value"] == rates["own prior"]["still_share"]["value"] == 1.0
    assert rates["model"]["unchanged_share"]["value"] < 1
    assert rates["no prior"]["mention_rate"]["value"] == 0
    blind = run_batch(
        "--controls", "prior", generator=ComparingGenerator(is_blind=True), dataset=prior_studies, output="b"
    )
    verdict = metrics(blind)["verdict"]
    assert verdict["uses_prior"] == "no"
    assert verdict["prior"].startswith("There is no sign that the reports use the prior study: temporal F1 ")


def test_each_control_gives_its_own_prior(run_batch, prior_studies):
    generator = ComparingGenerator()
    folder = run_batch("--controls", "prior", generator=generator, dataset=prior_studies)
    own = {one.study_id: one for one in lines(folder, "")}
    assert [one.has_prior for one in own.values()] == [number % WITHOUT_PRIOR != 0 for number in range(16)]
    another, itself, none = generator.priors[16:26], generator.priors[26:36], generator.priors[36:46]
    given = [number for number in range(16) if number % WITHOUT_PRIOR]
    for number, prior, one in zip(
        given, another, [one for one in lines(folder, "another prior") if one.has_prior], strict=True
    ):
        donor = int(one.prior_study_id.removeprefix("test"))
        assert own[one.prior_study_id].subject_id != one.subject_id
        assert prior.images[0].getpixel((0, 0)) == prior_level(donor)
        assert (prior.report, prior.interval_days) == (prior_row(donor, "test")["prior_report"], 10 + donor)
        assert one.study_id == f"test{number:02d}"
    for number, prior in zip(given, itself, strict=True):
        assert [image.getpixel((0, 0)) for image in prior.images] == [number] * (1 + number % 2)
        assert list(prior.view_positions) == ["PA", "LATERAL"][: 1 + number % 2]
        assert prior.report == ""  # it would tell the reference
    assert none == [None] * 10
    assert not any(one.has_prior for one in lines(folder, "no prior"))
    for control in ("another prior", "own prior", "no prior"):
        predictions = lines(folder, control)
        assert [one.study_id for one in predictions] == list(own)
        for one in predictions[::WITHOUT_PRIOR]:  # studies without a prior keep their report
            assert one.report == own[one.study_id].report and not one.prior_study_id


def test_finished_controls_are_not_run_again(run_batch, prior_studies, metrics):
    first = metrics(run_batch("--controls", "prior", generator=ComparingGenerator(), dataset=prior_studies))
    again = ComparingGenerator()
    assert metrics(run_batch("--controls", "prior", generator=again, dataset=prior_studies)) == first
    assert again.shown == []


def test_only_reports_of_studies_without_a_prior_may_not_mention_one(run_batch, prior_studies, metrics):
    consistency = metrics(run_batch("--controls", generator=ComparingGenerator(), dataset=prior_studies))["consistency"]
    assert consistency["rates"]["prior_report_rate"]["value"] == 0
    assert consistency["prior_sentences"] == []


def test_no_control_of_priors_without_priors(run_batch, prior_studies, metrics):
    document = metrics(run_batch("--controls", "prior"))
    assert list(document["systems"]) == ["model"] and document["prior"] is None
    assert "uses_prior" not in document["verdict"]
    unread = run_batch("--controls", "prior", generator=FakeGenerator(), dataset=prior_studies, output="unread")
    assert list(metrics(unread)["systems"]) == ["model"]  # the checkpoint does not read priors


def test_priors_of_one_patient_cannot_be_exchanged(run_batch, prior_studies, tmp_path, metrics):
    splits = datasets.load_from_disk(prior_studies)
    rows = splits["test"].to_list()
    subjects = ["a" if row["prior_images"] else row["subject_id"] for row in rows]
    splits["test"] = splits["test"].remove_columns("subject_id").add_column("subject_id", subjects).cast(FEATURES)
    splits.save_to_disk(tmp_path / "one patient")
    document = metrics(
        run_batch("--controls", "prior", generator=ComparingGenerator(), dataset=tmp_path / "one patient")
    )
    assert list(document["systems"]) == ["model", "own prior", "no prior"]
    assert document["verdict"]["uses_prior"] == "unknown"
    assert "one patient has more than half of the prior studies" in document["verdict"]["prior"]


def test_page_shows_the_scores_by_change_and_the_prior_images(run_batch, prior_studies):
    folder = run_batch("--controls", "prior", generator=ComparingGenerator(), dataset=prior_studies)
    html = (folder / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", " ", html)
    assert "Do the reports use the prior study?" in text
    for words in ("another prior", "own prior", "no prior", "resolved", "change accuracy of the classifier"):
        assert words in text
    assert "prior study, 11 days earlier: AP 1" in html


def test_predictions_check_their_changes():
    fields = {field.name for field in dataclasses.fields(Prediction)}
    assert {"change_probabilities", "reference_changes", "has_prior", "prior_study_id"} <= fields
    with pytest.raises(ValueError, match="study s: reference_changes must be 14 codes"):
        Prediction(study_id="s", report="", reference_changes=(9,) * 14)
    with pytest.raises(ValueError, match="study s: a change has 6 numbers"):
        Prediction(study_id="s", report="", change_probabilities=((0.5, 0.5),) * 14)
