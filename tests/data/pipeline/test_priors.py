"""Studies are linked with the last study before them; a prior study is read and cleaned like the study."""

from dataclasses import fields, replace
from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from data.pipeline.priors import link_priors
from data.pipeline.raw_study import FileStudy, ImageOptions, RawFileStudy, RawPrior, Rejection, source_digest
from data.pipeline.row import BuildOptions, build_row, prepare_study_text
from data.reports.clean import TextOptions
from data.synthetic.source import make_study
from vlm.schema.findings import CHANGES, FINDINGS, UNKNOWN_CHANGE
from vlm.schema.preprocessing import Preprocessing

PIXELS = np.random.default_rng(0).integers(60, 120, size=(40, 30), dtype=np.uint8)


def raw(folder, name, **changes):
    Image.fromarray(PIXELS).save(folder / f"{name}.png")
    fields = {"split": "train", "findings": f"Study {name}.", "labels": (0,) * 14} | changes
    return RawFileStudy(study_id=name, subject_id="p", image_root=folder, files=(f"{name}.png",), **fields)


def time(day, hour=0):
    return datetime(2021, 3, day, hour)


def test_the_last_study_before_is_the_prior_study(tmp_path):
    studies = [raw(tmp_path, name) for name in "abcde"]
    times = {"a": time(9), "b": time(2, 8), "c": time(2, 8), "d": time(2, 7)}
    linked = {one.study_id: one.prior for one in link_priors(studies, times)}
    assert list(linked) == list("abcde")
    assert (linked["a"].raw_study.study_id, linked["a"].interval_days) == ("c", 7)
    assert {name: linked[name].raw_study.study_id for name in "bc"} == {"b": "d", "c": "d"}
    assert linked["b"].interval_days == 0
    assert linked["d"] is None and linked["e"] is None


def test_a_rejected_study_keeps_its_place_and_is_a_prior_study_with_a_reason(tmp_path):
    studies = [Rejection(study_id="a", reason="is damaged"), raw(tmp_path, "b")]
    first, second = link_priors(studies, {"a": time(1), "b": time(2)})
    assert first is studies[0]
    outcome = build_row(second, BuildOptions())
    assert outcome.row["prior_images"] == [] and outcome.row["prior_interval_days"] is None
    assert [one.text for one in outcome.warnings if one.view == 0] == [
        "its prior study cannot be used, so it is kept without one (is damaged)"
    ]


def test_a_prior_study_of_another_split_is_not_used(tmp_path):
    study, other = raw(tmp_path, "b"), raw(tmp_path, "a", split="test")
    outcome = build_row(replace(study, prior=RawPrior(raw_study=other, interval_days=1)), BuildOptions())
    assert outcome.row["prior_images"] == []
    assert "it is in the split test" in outcome.warnings[0].text


def test_a_prior_study_is_cleaned_and_preprocessed_like_the_study(tmp_path):
    other = raw(tmp_path, "a", findings="Seen by Dr. Jane Doe on 03/04/2019.", impression="Edema.")
    study = replace(raw(tmp_path, "b"), prior=RawPrior(raw_study=other, interval_days=5))
    options = BuildOptions(images=ImageOptions(preprocessing=Preprocessing(normalize="minmax")))
    row = build_row(study, options).row
    assert "Doe" not in row["prior_report"] and "2019" not in row["prior_report"]
    assert row["prior_report"].endswith("Impression: Edema.")
    [stored] = row["prior_images"]
    assert stored == row["images"][0]
    assert Image.open(BytesIO(stored["bytes"])).getextrema() == (0, 255)


def changes_of(folder, findings, prior_findings):
    study = raw(folder, "b", findings=findings, labels=None)
    other = raw(folder, "a", findings=prior_findings)
    row = build_row(replace(study, prior=RawPrior(raw_study=other, interval_days=1)), BuildOptions()).row
    return {name: CHANGES[code] for name, code in zip(FINDINGS, row["changes"], strict=True) if code != UNKNOWN_CHANGE}


def test_changes_are_read_from_the_report(tmp_path):
    text = "The left effusion has increased. The pneumothorax has resolved. New edema. The heart is enlarged."
    changes = changes_of(tmp_path, text, "Left effusion and pneumothorax. The heart is enlarged.")
    found = {name: change for name, change in changes.items() if change != "none"}
    assert found == {"Pleural Effusion": "worse", "Pneumothorax": "resolved", "Edema": "new"}
    assert changes["Fracture"] == "none"
    assert "Cardiomegaly" not in changes
    assert "No Finding" not in changes


def test_changes_that_do_not_fit_the_report_are_unknown(tmp_path):
    two = "The right effusion has resolved. The left effusion is unchanged."
    assert "Pleural Effusion" not in changes_of(tmp_path, two, "Bilateral effusions.")
    assert "Pleural Effusion" not in changes_of(tmp_path, "The lungs are clear.", "Left pleural effusion.")


def test_without_text_of_the_prior_study_an_absent_finding_is_unknown(tmp_path):
    assert changes_of(tmp_path, "Worsening edema.", "") == {"Edema": "worse"}


def test_changes_of_the_source_are_kept():
    """The report of this study calls neither worse: only the source knows."""
    study = make_study(31, 3, 64, prior_fraction=1.0)
    unlike = tuple(code if code <= 0 else CHANGES.index("worse") for code in study.changes)
    given = FileStudy(**{one.name: getattr(study, one.name) for one in fields(study)} | {"changes": unlike})
    assert prepare_study_text(given, TextOptions())[0].changes == unlike


@pytest.mark.parametrize("change", ["files", "nothing"])
def test_a_changed_image_of_the_prior_study_changes_the_digest(tmp_path, change):
    other = raw(tmp_path, "a")
    study = replace(raw(tmp_path, "b"), prior=RawPrior(raw_study=other, interval_days=5))
    before = source_digest("", study)
    if change == "files":
        (tmp_path / "a.png").write_bytes(b"other")
    assert (source_digest("", study) == before) == (change == "nothing")
