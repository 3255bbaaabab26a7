"""What the reading room answers to a visitor's acts, without a browser."""

import base64
import json

import gradio as gr
import pytest

import page.tabs.study
from data.corrections.store import CorrectionStore
from page.examples import synthetic_examples
from page.study.files import MAX_VIEWS
from page.study.record import model_identity
from page.tabs.session import LEAVE_OUT, Visit
from page.tabs.study import Room
from tests.helpers.correction_forms import sent
from tests.helpers.corrections import corrections_of
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NEGATIVE, NUM_FINDINGS

pytestmark = [
    pytest.mark.usefixtures("swept_up_after_gradio"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]
WRITING = GenerationOptions(max_new_tokens=24)
AUTO = ["auto"] * MAX_VIEWS


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return CorrectionStore(tmp_path_factory.mktemp("corrections"))


@pytest.fixture(scope="module")
def room(generator, store, tmp_path_factory):
    examples = synthetic_examples(tmp_path_factory.mktemp("examples"))
    with gr.Blocks(analytics_enabled=False):
        return Room(generator, model_identity(generator), WRITING, examples, store)


@pytest.fixture
def files(tmp_path, images):
    paths = [tmp_path / "front.png", tmp_path / "side.png", tmp_path / "third.png"]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    return [str(path) for path in paths]


@pytest.fixture
def brought(room, files):
    return room.bring(Visit(), files[:2])[room.visit]


@pytest.fixture
def read(room, brought):
    """The answers to having two images read."""
    return list(room.write_report(brought, "cough", "PA", "lateral", *AUTO[2:]))


def test_images_are_shown_and_their_views_asked_before_anything_is_read(room, files):
    changes = room.bring(Visit(), files[:2])
    assert changes[room.images].count('class="xray"') == 2
    shown = [changes[radio] for radio in room.views]
    assert [choice["visible"] for choice in shown] == [True, True, False, False, False, False]
    assert shown[1]["label"] == "View of side.png"
    assert changes[room.upload] is None
    assert changes[room.findings] == ""


def test_files_are_removed_after_they_were_read_or_rejected(room, files, tmp_path, monkeypatch):
    removed = []
    monkeypatch.setattr(page.tabs.study, "remove_later", removed.extend)
    (tmp_path / "empty.dcm").touch()
    room.bring(Visit(), files[:1])
    room.bring(Visit(), [str(tmp_path / "empty.dcm")])
    assert removed == [files[0], str(tmp_path / "empty.dcm")]


def test_more_images_join_the_study_until_it_was_read(room, brought, read, files):
    joined = room.bring(brought, files[2:])[room.visit]
    assert [image.name for image in joined.images] == ["front.png", "side.png", "third.png"]
    after = room.bring(read[-1][room.visit], files[2:])[room.visit]
    assert [image.name for image in after.images] == ["third.png"]


def test_too_many_images_are_rejected_and_the_others_stay(room, brought, files):
    changes = room.bring(brought, files[:1] * 5)
    assert "7 images are more than the 6 that one study may have" in changes[room.report]
    assert changes[room.visit] == brought


def test_a_rejected_file_says_why_and_the_study_stays(room, brought, tmp_path):
    (tmp_path / "empty.dcm").touch()
    changes = room.bring(brought, [str(tmp_path / "empty.dcm")])
    assert "empty.dcm: is empty (0 bytes); fetch or export it again" in changes[room.report]
    assert 'role="alert"' in changes[room.report]
    assert changes[room.images].count('class="xray"') == 2


def test_images_findings_and_heat_come_once_and_the_report_grows(room, brought, generator, monkeypatch):
    monkeypatch.setattr(page.tabs.study, "SHOW_EVERY_SECONDS", 0)
    first, *growing, last = room.write_report(brought, "cough", "PA", "lateral", *AUTO[2:])
    images = [image.image for image in brought.images]
    [expected] = generator.generate(
        [images], view_positions=[["PA", "LATERAL"]], indications=["cough"], options=WRITING
    )
    assert first[room.images].count('class="xray"') == 2
    assert "lateral" in first[room.images]
    assert first[room.findings].count("called present: ") == NUM_FINDINGS
    assert ".heat-1" in first[room.heat]
    assert [set(changes) for changes in growing] == [{room.report}] * len(expected.tokens)
    assert last[room.visit].reading.report.report == expected.report
    assert 'aria-busy="false"' in last[room.report]
    assert all('aria-busy="true"' in changes[room.report] for changes in [first, *growing])
    assert "#choose-sentence-0:checked" in last[room.heat]


def test_a_fast_model_does_not_flood_the_browser(room, brought, monkeypatch):
    monkeypatch.setattr(page.tabs.study, "SHOW_EVERY_SECONDS", 1000)
    assert len(list(room.write_report(brought, "", *AUTO))) == 2


def test_an_image_that_is_left_out_is_not_read(room, brought):
    *_, last = room.write_report(brought, "", "AP", LEAVE_OUT, *AUTO[2:])
    assert [image.name for image in last[room.visit].reading.images] == ["front.png"]
    [changes] = room.write_report(brought, "", *[LEAVE_OUT] * MAX_VIEWS)
    assert "No image is left to read" in changes[room.report]


def test_pressing_the_button_without_an_image_says_what_to_do(room):
    [changes] = room.write_report(Visit(), "", *AUTO)
    assert "No image yet: choose a file or click an example first." in changes[room.report]


def test_a_doubtful_study_is_withheld_with_its_reason_and_written_on_request(room, dicom):
    visit = room.bring(Visit(), [str(dicom(BodyPartExamined="KNEE"))])[room.visit]
    [withheld] = room.write_report(visit, "", *AUTO)
    assert "another part of the body than the chest" in withheld[room.doubts]
    assert withheld[room.anyway]["visible"]
    assert withheld[room.findings] == ""
    assert not withheld[room.outcome.panel]["visible"]
    assert "There is no finished report" in room.outcome.export("text", withheld[room.visit], False)[1]
    *_, last = room.write_report(withheld[room.visit], "", *AUTO, write_anyway=True)
    assert last[room.visit].is_read


def test_every_reading_has_a_key_of_its_own(room, brought):
    keys = {list(room.write_report(brought, "", *AUTO))[-1][room.visit].key for _ in range(2)}
    assert len(keys) == 2


def test_occlusion_tells_how_far_it_is_and_ends_with_heat(room, read):
    *progress, last = room.compute_occlusion(read[-1][room.visit])
    assert all("<progress" in changes[room.progress] for changes in progress)
    assert "checked" in last[room.method].split("method-occlusion")[1]
    assert "<style>" in last[room.occlusion_heat]
    [rejected] = room.compute_occlusion(Visit())
    assert "Have a report written first." in rejected[room.progress]


def test_a_correction_is_kept_with_what_was_changed(room, read, store):
    visit = read[-1][room.visit]
    images = [image.image for image in visit.reading.images]
    told = room.outcome.correct(visit, sent(reading=visit.key, Edema="absent"), "Dr A")
    assert "The correction is saved." in told
    [kept] = corrections_of(store.folder, images)
    assert (kept.correction.findings, kept.correction.reader) == ("The heart is normal.", "Dr A")
    assert kept.correction.states[FINDING_INDEX["Edema"]] == NEGATIVE
    assert kept.correction.model_hash == room.model.hash
    assert "form is of another report" in room.outcome.correct(visit, sent(reading="old"), "")
    assert 'role="alert"' in room.outcome.correct(Visit(), sent(), "")


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_file_is_handed_over_inside_the_answer(room, read, format):
    visit = read[-1][room.visit]
    file, told = room.outcome.export(format, visit, False)
    content = base64.b64decode(file["content"]).decode()
    assert file["name"] in told
    assert "front.png" not in content
    assert "front.png" in base64.b64decode(room.outcome.export(format, visit, True)[0]["content"]).decode()
    if format == "json":
        assert [row["finding"] for row in json.loads(content)["finding_probabilities"]] == list(FINDINGS)


def test_an_export_that_cannot_be_made_says_why(room, read):
    file, told = room.outcome.export("sr", read[-1][room.visit], False)
    assert file is None
    assert 'role="alert"' in told
    assert "DICOM" in told
