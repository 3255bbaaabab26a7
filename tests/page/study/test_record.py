"""The record of a study: what it takes from a reading, and what it loses with the identity."""

import json
from dataclasses import replace
from datetime import UTC

import numpy as np
import pytest

from page.export.formats import export
from page.study.read import StudyReading, read_study
from page.study.record import model_identity, study_record, without_identity
from page.study.upload import UploadedImage
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS
from vlm.uncertainty import NO_CHECK


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def reading(generator, images):
    views = [
        UploadedImage(name="a\x00<b>\u202e.png", image=images[0], view_position="PA"),
        UploadedImage(name="b", image=images[1]),
    ]
    *_, done = read_study(
        generator, views, indication="Cough\x07 & fever", options=GenerationOptions(max_new_tokens=20)
    )
    return done


def test_record_has_the_results_of_the_reading(reading, generator):
    record = study_record(reading, generator)
    report = reading.report
    assert (record.findings, record.impression) == (report.findings.strip(), report.impression.strip())
    assert record.indication == "Cough & fever"
    assert [view.name for view in record.views] == ["a<b>.png", "b"]
    assert [view.view_text for view in record.views] == ["frontal PA", "view position unknown"]
    assert [row.finding for row in record.finding_rows] == list(FINDINGS)
    assert [row.probability for row in record.finding_rows] == list(report.finding_probabilities)
    assert [row.threshold for row in record.finding_rows] == list(generator.thresholds)
    assert [row.disagrees for row in record.finding_rows] == list(reading.disagrees)
    assert record.num_calibration_studies == 10
    assert record.read_at == reading.read_at
    assert record.read_at.tzinfo is UTC
    assert record.model.name.endswith("/tiny")
    assert record.model.name.count("/") == 1
    assert len(record.model.hash) == 16


def test_findings_without_training_labels_are_not_exported(reading, generator):
    known = ("Pneumonia", "No Finding")
    labelled = tuple(100 * (finding in known) for finding in FINDINGS)
    calibration = replace(generator.calibration, num_labeled=labelled)
    record = study_record(replace(reading, calibration=calibration), generator)
    assert [row.finding for row in record.finding_rows] == list(known)
    assert record.untrained_findings == tuple(finding for finding in FINDINGS if finding not in known)
    for format in ("text", "pdf", "fhir", "json"):
        content = export(record, format).content
        if format != "pdf":
            assert b"Edema" in content  # as one without training labels
    rows = json.loads(export(record, "json").content)
    assert [row["finding"] for row in rows["finding_probabilities"]] == list(known)
    assert len(rows["untrained_findings"]) == 12
    text = export(record, "text").content.decode()
    assert "The model was not trained on: Enlarged Cardiomediastinum" in text
    assert not [line for line in text.splitlines() if line.startswith("Edema")]


def test_record_warns_that_the_model_only_classifies(reading, generator):
    empty = replace(reading.report, report="", findings="", impression="")
    reading = replace(reading, report=empty, only_classifies=True)
    record = study_record(reading, generator)
    assert record.warnings[-1] == "This model only classifies: it was not trained on reports, so it wrote none."


def test_other_weights_have_another_hash(generator, build_model, tiny_tokenizer, tmp_path):
    from vlm.checkpoint.store import Checkpoint, save_checkpoint
    from vlm.uncertainty import Calibration

    save_checkpoint(
        tmp_path / "b", Checkpoint(model=build_model(1), tokenizer=tiny_tokenizer, calibration=Calibration())
    )
    other = ReportGenerator.from_pretrained(tmp_path / "b")
    assert model_identity(other).hash != model_identity(generator).hash


def test_heatmap_colors_the_image_where_attention_is_high(reading, generator):
    record = study_record(reading, generator)
    heated = record.heatmap("Cardiomegaly", 1)
    assert heated.size == record.views[1].image.size
    [expected] = [generator.heatmaps(reading.report, [view.image for view in record.views])[1][1]]
    colored = np.ptp(np.asarray(heated, dtype=int), axis=2) > 0
    assert colored[expected > 0.2].mean() > 0.9
    assert not colored[expected == 0].any()


def test_image_warnings_contradictions_and_truncation_are_warnings(reading, generator):
    from eval.checks.contradictions import Contradiction

    warned = replace(
        reading,
        image_warnings=("no chest\x00",),
        contradictions=(Contradiction(finding="Edema", stated="Edema.", denied="No edema."),),
        prior_sentences=("Unchanged from prior.",),
        report=replace(reading.report, is_truncated=True),
    )
    record = study_record(warned, generator)
    assert record.warnings == (
        "no chest",
        f"Not checked whether the images resemble those of the training: {NO_CHECK}.",
        'The report both states and denies Edema: "Edema." / "No edema."',
        'The report mentions a prior study, but none was given: "Unchanged from prior."',
        "The report reached the maximum length and is cut off.",
    )


def test_unfinished_report_has_no_record(reading, generator):
    for unfinished in (None, replace(reading, is_done=False), StudyReading(images=reading.images, is_done=True)):
        with pytest.raises(ValueError, match="There is no finished report"):
            study_record(unfinished, generator)


def test_record_without_identity_does_not_name_the_patient(recorded_study):
    warned = replace(recorded_study, warnings=("jane_doe_side.dcm: is not a radiograph. Doe; PID4711",))
    nameless = without_identity(warned)
    assert nameless.indication == "Ms. ___ has a cough."
    assert nameless.warnings == ("image 2: is not a radiograph. ___; ___",)
    assert [view.name for view in nameless.views] == ["image 1", "image 2"]
    assert nameless.findings == recorded_study.findings
    assert nameless.source.study_instance_uid == "1.2.3"
    assert nameless.source.personal_words == ()
    assert not nameless.has_identity


def test_file_name_that_is_a_word_of_the_report_does_not_change_the_report(recorded_study):
    first, second = recorded_study.views
    report = "Frontal and lateral views. A nodule of 1 cm. See doe.png."
    named = replace(
        recorded_study,
        views=(replace(first, name="1"), replace(second, name="lateral"), replace(second, name="doe.png")),
        findings=report,
        warnings=("1: The image is blank.", "lateral: The image is blank.", "A sentence on 1 lateral image of doe.png"),
    )
    nameless = without_identity(named)
    assert nameless.findings == "Frontal and lateral views. A nodule of 1 cm. See image 3."
    assert nameless.warnings == (
        "image 1: The image is blank.",
        "image 2: The image is blank.",
        "A sentence on 1 lateral image of image 3",
    )


def test_swapped_file_names_are_each_replaced_once(recorded_study):
    views = [replace(view, name=name) for view, name in zip(recorded_study.views, ("image 2", "image 1"), strict=True)]
    nameless = without_identity(replace(recorded_study, views=tuple(views), warnings=("image 2: Blank.",)))
    assert nameless.warnings == ("image 1: Blank.",)


def test_repr_of_a_record_has_no_header_data(recorded_study):
    assert "PID4711" not in repr(recorded_study)
    assert "1.2.3" not in repr(recorded_study)


def test_images_of_two_patients_are_rejected(recorded_study):
    def second_is_of(**other):
        first, second = recorded_study.views
        return replace(recorded_study, views=(first, replace(second, identifiers=replace(second.identifiers, **other))))

    with pytest.raises(ValueError, match="belong to 2 studies by their DICOM headers"):
        _ = second_is_of(study_instance_uid="9.9").source
    with pytest.raises(ValueError, match="belong to 2 patients"):
        _ = second_is_of(patient_id="other").source
    assert second_is_of(patient_id="").source.patient_id == "PID4711"


def test_pseudonym_depends_on_the_images_only(recorded_study):
    renamed = replace(recorded_study, views=tuple(replace(view, name="x") for view in reversed(recorded_study.views)))
    fewer = replace(recorded_study, views=recorded_study.views[:1])
    assert renamed.pseudonym == recorded_study.pseudonym != fewer.pseudonym
    assert recorded_study.file_stem == recorded_study.pseudonym + "_20261120T153000"


def test_probability_is_never_rounded_to_certainty(recorded_study):
    row = recorded_study.finding_rows[0]
    shown = [replace(row, probability=value).percent for value in (0.0, 0.0049, 0.005, 0.5, 0.994, 0.995, 1.0)]
    assert shown == ["<1%", "<1%", "<1%", "50%", "99%", ">99%", ">99%"]
