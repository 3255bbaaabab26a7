"""The prior study of a study: what is accepted, how it is checked, and that the report is written with it."""

from dataclasses import replace

import pytest
from PIL import Image

from data.images.dicom.identifiers import DicomIdentifiers
from page.study.prior import PriorStudy, as_prior, compared_with, prior_study, read_prior_files
from page.study.read import StudyInput, read_studies, read_study
from page.study.record import study_record, without_identity
from page.study.row import study_row
from page.study.upload import UploadedImage
from page.study.worklist import PriorSource, ReadOptions, StudySource, read_sources
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS

WRITING = {"options": GenerationOptions(max_new_tokens=8)}


@pytest.fixture(scope="module")
def generator(prior_checkpoint):
    return ReportGenerator.from_pretrained(prior_checkpoint)


@pytest.fixture
def now(images):
    return UploadedImage(name="now.png", image=images[0], view_position="PA")


@pytest.fixture
def before(images):
    return as_prior(UploadedImage(name="before.png", image=images[1], view_position="AP"))


def with_header(image, **values):
    return replace(image, identifiers=DicomIdentifiers(**values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FINDINGS: Small\neffusion.\n\nIMPRESSION: Effusion.", "Findings: Small effusion. Impression: Effusion."),
        ("There is a small effusion.", "Findings: There is a small effusion."),
        ("SIGNATURE: ...", "Findings: SIGNATURE: ..."),
        ("  ", ""),
    ],
)
def test_report_is_read_in_sections(before, text, expected):
    assert prior_study([before], report=text).report == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": [], "report": "Clear."}, "has a report or an interval, but no image"),
        ({"images": [], "interval_days": 3}, "has a report or an interval, but no image"),
        ({"report": "x" * 10_001}, "has 10001 characters; shorten it to 10000"),
        ({"interval_days": -1}, "is -1 days earlier; give 0 to 36525"),
    ],
)
def test_unusable_prior_studies_are_rejected(before, settings, message):
    with pytest.raises(ValueError, match=message):
        prior_study(**{"images": [before]} | settings)
    assert prior_study([]) is None


def test_interval_is_that_of_the_headers(now, before):
    now, before = with_header(now, study_date="20260301"), with_header(before, study_date="20260130")
    prior = PriorStudy(images=(before,))
    assert compared_with(prior, [now]).interval_days == 30
    assert compared_with(prior, [now]).interval_text == "30 days earlier"
    assert compared_with(replace(prior, interval_days=30), [now]) == compared_with(prior, [now])
    assert compared_with(PriorStudy(images=(with_header(before),)), [now]).interval_days is None


def test_given_interval_that_contradicts_the_dates_is_used_and_the_warning_names_both(generator, now, before):
    now, before = with_header(now, study_date="20260302"), with_header(before, study_date="20260301")
    *_, reading = read_study(generator, [now], prior=prior_study([before], interval_days=7), **WRITING)
    assert reading.prior.interval_days == 7
    warning = (
        "The prior study was taken 7 days earlier as given, but 1 day earlier by the dates of the DICOM headers. The "
        "given interval is used; check it, and that this is the right prior study."
    )
    record = study_record(reading, generator)
    assert warning in record.warnings and warning in without_identity(record).warnings
    *_, fitting = read_study(generator, [now], prior=prior_study([before], interval_days=1), **WRITING)
    assert not any("as given" in text for text in study_record(fitting, generator).warnings)


@pytest.mark.parametrize("given", [None, 0, 7])
def test_later_study_is_rejected_whether_or_not_an_interval_is_given(now, before, given):
    prior = PriorStudy(images=(with_header(before, study_date="20260103"),), interval_days=given)
    with pytest.raises(ValueError, match=r"taken 2 days after the study .* exchange them"):
        compared_with(prior, [with_header(now, study_date="20260101")])


@pytest.mark.parametrize(
    ("time", "other", "is_later"),
    [("0830", "090000", True), ("0830", "0830", False), ("0830", "083015.5", False), ("1400", "0830", False)],
)
def test_study_of_the_same_day_is_no_prior_study_if_it_is_later(now, before, time, other, is_later):
    now = with_header(now, study_date="20260101", study_time=time)
    prior = PriorStudy(images=(with_header(before, study_date="20260101", study_time=other),))
    if is_later:
        with pytest.raises(ValueError, match="later by the times of the DICOM headers; exchange them"):
            compared_with(prior, [now])
    else:
        assert compared_with(prior, [now]).interval_days == 0


def test_same_patient_id_with_another_birth_date_gives_a_note(now, before):
    now = with_header(now, patient_id="7", patient_birth_date="19500101", study_date="20260302")
    header = {"patient_id": "7", "patient_birth_date": "19810203"}
    for dates, days in (({}, None), ({"study_date": "20260301"}, 1)):
        found = compared_with(PriorStudy(images=(with_header(before, **header, **dates),)), [now])
        [note] = found.notes
        assert "same patient ID but another birth date" in note and "1981" not in note
        assert found.interval_days == days


@pytest.mark.parametrize(
    ("header", "other", "message"),
    [
        ({"study_instance_uid": "1.2"}, {"study_instance_uid": "1.2"}, "is the study itself"),
        ({"patient_id": "A"}, {"patient_id": "B"}, "belongs to another patient"),
        (
            {"patient_birth_date": "19500101", "patient_id": "7"},
            {"patient_birth_date": "19810203"},
            "belongs to another patient by the birth dates",
        ),
    ],
)
def test_prior_study_that_does_not_fit_is_rejected(now, before, header, other, message):
    with pytest.raises(ValueError, match=message):
        compared_with(PriorStudy(images=(with_header(before, **other),)), [with_header(now, **header)])


def test_study_is_no_prior_study_of_itself(now):
    with pytest.raises(ValueError, match="shares an image with it"):
        compared_with(PriorStudy(images=(as_prior(now),)), [now])


def test_report_is_that_of_the_generator_with_the_prior_study(generator, now, before):
    prior = prior_study([before], report="Findings: The heart is enlarged.", interval_days=3)
    *_, reading = read_study(generator, [now], prior=prior, **WRITING)
    inputs = {"view_positions": [["PA"]], "priors": [prior.for_model]}
    [expected] = generator.generate([[now.image]], **inputs, **WRITING)
    assert reading.report.report == expected.report
    assert reading.report.change_probabilities == expected.change_probabilities
    record = study_record(reading, generator)
    assert [row.finding for row in record.finding_rows if row.change] == list(FINDINGS[:-1])
    *_, alone = read_study(generator, [now], **WRITING)
    assert (alone.prior, alone.report.change_probabilities) == (None, None)
    assert not any(row.change for row in study_record(alone, generator).finding_rows)


def test_batch_with_and_without_prior_studies_equals_single_readings(generator, now, before):
    prior = prior_study([before])
    inputs = [StudyInput(images=[now], prior=prior), StudyInput(images=[now])]
    batch = read_studies(generator, inputs, **WRITING)
    for reading, given in zip(batch, (prior, None), strict=True):
        *_, single = read_study(generator, [now], prior=given, **WRITING)
        assert reading.report.report == single.report.report
        assert reading.prior == single.prior


def test_checkpoint_without_prior_support_says_so_before_it_reads(tiny_checkpoint, now, before):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    with pytest.raises(ValueError, match="tiny was trained without prior studies and cannot compare; leave the prior"):
        next(read_study(generator, [now], prior=prior_study([before])))


def test_images_of_the_prior_study_have_the_same_checks(generator, now, tmp_path):
    path = tmp_path / "now.png"  # the same name as an image of the study
    Image.new("L", (40, 40), 90).save(path)
    prior = prior_study(read_prior_files([path]))
    [blocked] = read_study(generator, [now], prior=prior, **WRITING)
    assert blocked.is_blocked
    assert blocked.image_warnings[0].startswith("prior now.png: The image is blank")
    *_, written = read_study(generator, [now], prior=prior, write_anyway=True, **WRITING)
    warning = without_identity(study_record(written, generator)).warnings[0]
    assert warning.startswith("prior image 1: The image is blank")


@pytest.mark.parametrize(
    ("attribute", "values", "what"),
    [
        ("study_instance_uid", ("1.1", "1.2"), "belong to 2 different DICOM studies"),
        ("patient_birth_date", ("19560712", "19610712"), "have 2 birth dates by their DICOM headers"),
    ],
)
def test_images_of_two_prior_studies_are_a_warning(generator, now, images, attribute, values, what):
    two = [as_prior(UploadedImage(name=str(n), image=images[n])) for n in (1, 2)]
    prior = prior_study([with_header(image, **{attribute: value}) for image, value in zip(two, values, strict=True)])
    [blocked] = read_study(generator, [now], prior=prior)
    assert blocked.image_warnings == (f"The images of the prior study {what}, possibly of different patients.",)


def test_unreadable_prior_file_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(ValueError, match=r"^prior notes\.png: its content is none of PNG"):
        read_prior_files([tmp_path / "notes.png"])


def test_sentences_that_compare_are_only_a_warning_without_a_prior_study(generator, now, before):
    *_, reading = read_study(generator, [now], prior=prior_study([before]), **WRITING)
    compares = replace(reading, prior_sentences=("The effusion is larger.",))
    assert compares.invented_sentences == ()
    assert not any("prior study, but none was given" in text for text in study_record(compares, generator).warnings)
    assert replace(compares, prior=None).invented_sentences == ("The effusion is larger.",)


def test_table_row_names_the_prior_files_and_the_changes(generator, now, before):
    earlier = replace(before, name="before.png")
    prior = PriorSource(images=(lambda: earlier,), report="Clear.")
    source = StudySource(name="one", files=("now.png",), images=(lambda: now,), prior=prior)
    [result] = read_sources(generator, [source], ReadOptions(generation=WRITING["options"]))
    values = result.row.values()
    assert values["prior_files"] == ["before.png"]
    rows = study_record(result.reading, generator).changes
    assert values["changes"] == [f"{row.finding}: {row.change[0]}" for row in rows] != []
    alone = study_row(generator, replace(result.reading, prior=None), "one", files=["now.png"])
    assert alone.values()["prior_files"] == []


def test_study_is_read_without_a_prior_study_that_cannot_be_read(generator, now):
    def damaged():
        from data.images.pixels import ImageRejected

        raise ImageRejected("before.png: is damaged")

    source = StudySource(name="one", files=("now.png",), images=(lambda: now,), prior=PriorSource(images=(damaged,)))
    [result] = read_sources(generator, [source], ReadOptions(generation=WRITING["options"]))
    assert result.row.state == "read"
    assert result.row.reason.startswith("Read without its prior study: before.png: is damaged.")
    assert result.reading.prior is None
