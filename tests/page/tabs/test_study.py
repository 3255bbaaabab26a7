"""The answers of the study tab to user actions, without a browser."""

import base64
import json
from dataclasses import replace

import gradio as gr
import pytest

import page.tabs.study
from data.corrections.store import CorrectionStore
from page.examples import synthetic_examples
from page.study.record import model_identity
from page.study.upload import MAX_VIEWS
from page.tabs.session import Session
from page.tabs.study import StudyTab
from page.tabs.views import LEAVE_OUT
from tests.helpers.correction_forms import sent
from tests.helpers.corrections import corrections_of
from tests.helpers.view_checks import everything_looks_lateral
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import RocCurve
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NEGATIVE, NUM_FINDINGS

pytestmark = [
    pytest.mark.usefixtures("gradio_cleanup"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]
WRITING = GenerationOptions(max_new_tokens=24)
AUTO = ["auto"] * MAX_VIEWS
SETTINGS = (1, "f1", 90)
"""Number of candidates, and the operating point."""


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return CorrectionStore(tmp_path_factory.mktemp("corrections"))


@pytest.fixture(scope="module")
def tab(generator, store, tmp_path_factory):
    examples = synthetic_examples(tmp_path_factory.mktemp("examples"))
    with gr.Blocks(analytics_enabled=False):
        return StudyTab(generator, WRITING, examples, store)


@pytest.fixture
def files(tmp_path, images):
    paths = [tmp_path / "front.png", tmp_path / "side.png", tmp_path / "third.png"]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    return [str(path) for path in paths]


@pytest.fixture
def loaded(tab, files):
    return tab.add_files(Session(), files[:2])[tab.session]


@pytest.fixture
def read(tab, loaded):
    """The answers while two images are read."""
    return list(tab.write_report(loaded, "cough", *SETTINGS, "PA", "lateral", *AUTO[2:]))


def test_images_and_view_choices_are_shown_before_reading(tab, files):
    changes = tab.add_files(Session(), files[:2])
    assert changes[tab.images].count('class="xray"') == 2
    shown = [changes[radio] for radio in tab.views]
    assert [choice["visible"] for choice in shown] == [True, True, False, False, False, False]
    assert shown[1]["label"] == "View of side.png"
    assert changes[tab.upload] is None
    assert changes[tab.findings] == ""


def test_files_are_removed_after_reading_or_rejection(tab, files, tmp_path, monkeypatch):
    removed = []
    monkeypatch.setattr(page.tabs.study, "remove_later", removed.extend)
    (tmp_path / "empty.dcm").touch()
    tab.add_files(Session(), files[:1])
    tab.add_files(Session(), [str(tmp_path / "empty.dcm")])
    assert removed == [files[0], str(tmp_path / "empty.dcm")]


def test_more_images_join_the_study_until_it_is_read(tab, loaded, read, files):
    joined = tab.add_files(loaded, files[2:])[tab.session]
    assert [image.name for image in joined.images] == ["front.png", "side.png", "third.png"]
    after = tab.add_files(read[-1][tab.session], files[2:])[tab.session]
    assert [image.name for image in after.images] == ["third.png"]


def test_the_indication_of_the_last_patient_does_not_stay_for_a_new_study(tab, read, files, tmp_path):
    (tmp_path / "empty.dcm").touch()
    for upload in (files[2], str(tmp_path / "empty.dcm")):
        assert tab.add_files(read[-1][tab.session], [upload])[tab.indication] == ""
    example = tab.choose_example(gr.SelectData(None, {"index": 0, "value": None}))
    assert example[tab.indication] == tab.examples[0].indication != ""
    *_, last = tab.write_report(example[tab.session], example[tab.indication], *SETTINGS, *AUTO)
    assert tab.add_files(last[tab.session], files[:1])[tab.indication] == ""


def test_the_views_of_the_last_patient_do_not_stay_for_a_new_study(tab, loaded, read, files):
    shown = tab.add_files(read[-1][tab.session], files[:2])
    assert [shown[radio]["value"] for radio in tab.views] == AUTO
    joined = tab.add_files(loaded, files[2:])
    assert ["value" in joined[radio] for radio in tab.views] == [False] * 3 + [True] * 3


def test_an_indication_that_was_typed_before_or_between_the_images_stays(tab, loaded, files):
    assert tab.indication not in tab.add_files(Session(), files[:1])
    assert tab.indication not in tab.add_files(loaded, files[2:])


def test_every_event_with_a_new_study_can_empty_the_indication(tab):
    events = [event for event in tab.session.parent.fns.values() if tab.images in event.outputs]
    assert len(events) >= 7 and all(tab.indication in event.outputs for event in events)


def test_every_event_that_changes_the_study_stops_the_report_that_is_being_written(tab):
    events = tab.session.parent.fns.values()
    writing = {event._id for event in events if tab.indication in event.inputs}
    stopping = {target for event in events if writing <= set(event.cancels) for target in event.targets}
    changing = {(tab.upload, "change"), (tab.gallery, "select"), (tab.clear, "click")}
    changing |= {(tab.prior.upload, "change"), (tab.prior.remove, "click")}
    assert len(writing) == 3 and stopping >= {(block._id, name) for block, name in changing}


def test_too_many_images_are_rejected_and_the_study_stays(tab, loaded, files):
    changes = tab.add_files(loaded, files[:1] * 5)
    assert "7 images are more than the 6 that one study may have" in changes[tab.report]
    assert changes[tab.session] == loaded


def test_rejected_file_gives_a_reason_and_the_study_stays(tab, loaded, tmp_path):
    (tmp_path / "empty.dcm").touch()
    changes = tab.add_files(loaded, [str(tmp_path / "empty.dcm")])
    assert "empty.dcm: is empty (0 bytes); fetch or export it again" in changes[tab.report]
    assert 'role="alert"' in changes[tab.report]
    assert changes[tab.images].count('class="xray"') == 2


def test_images_findings_and_heatmaps_are_sent_once_and_the_report_grows(tab, loaded, generator, monkeypatch):
    monkeypatch.setattr(page.tabs.study, "SHOW_EVERY_SECONDS", 0)
    first, *growing, last = tab.write_report(loaded, "cough", *SETTINGS, "PA", "lateral", *AUTO[2:])
    images = [image.image for image in loaded.images]
    [expected] = generator.generate(
        [images], view_positions=[["PA", "LATERAL"]], indications=["cough"], options=WRITING
    )
    assert first[tab.images].count('class="xray"') == 2
    assert "lateral" in first[tab.images]
    assert first[tab.findings].count("prediction: ") == NUM_FINDINGS
    assert ".heat-1" in first[tab.heat]
    assert [set(changes) for changes in growing] == [{tab.report}] * len(expected.tokens)
    assert last[tab.session].reading.report.report == expected.report
    assert 'aria-busy="false"' in last[tab.report]
    assert all('aria-busy="true"' in changes[tab.report] for changes in [first, *growing])
    assert "#choose-sentence-0:checked" in last[tab.heat]
    assert "Not checked whether the images resemble those of the training" in last[tab.report]


def test_images_are_encoded_once_for_report_and_sentence_maps(tab, loaded, generator, encoder_passes):
    sizes = encoder_passes(generator)
    *_, last = tab.write_report(loaded, "cough", 2, "f1", 90, "PA", "lateral", *AUTO[2:])
    assert sizes == [2]
    reading = last[tab.session].reading
    sentence_maps = generator.sentence_maps(
        reading.report.report,
        [sentence.text for sentence in reading.sentences],
        [image.image for image in reading.images],
        view_positions=["PA", "LATERAL"],
        indication="cough",
    )
    assert reading.sentences and tab._style("sentence", sentence_maps, last[tab.session]) in last[tab.heat]


def test_fast_model_does_not_flood_the_browser(tab, loaded, monkeypatch):
    monkeypatch.setattr(page.tabs.study, "SHOW_EVERY_SECONDS", 1000)
    assert len(list(tab.write_report(loaded, "", *SETTINGS, *AUTO))) == 2


def test_image_that_is_left_out_is_not_read(tab, loaded):
    *_, last = tab.write_report(loaded, "", *SETTINGS, "AP", LEAVE_OUT, *AUTO[2:])
    assert [image.name for image in last[tab.session].reading.images] == ["front.png"]
    [changes] = tab.write_report(loaded, "", *SETTINGS, *[LEAVE_OUT] * MAX_VIEWS)
    assert "No image is left to read" in changes[tab.report]


def test_writing_without_an_image_gives_instructions(tab):
    [changes] = tab.write_report(Session(), "", *SETTINGS, *AUTO)
    assert "No image yet: choose a file or click an example first." in changes[tab.report]


def test_study_with_image_warnings_is_blocked_and_written_on_request(tab, dicom):
    session = tab.add_files(Session(), [str(dicom(BodyPartExamined="KNEE"))])[tab.session]
    [blocked] = tab.write_report(session, "", *SETTINGS, *AUTO)
    assert "another part of the body than the chest" in blocked[tab.warnings]
    assert "Not checked whether the images resemble" in blocked[tab.warnings]
    assert blocked[tab.anyway]["visible"]
    assert blocked[tab.findings] == ""
    assert not blocked[tab.actions.panel]["visible"]
    assert "There is no finished report" in tab.actions.export("text", blocked[tab.session], False)[1]
    *_, last = tab.write_report(blocked[tab.session], "", *SETTINGS, *AUTO, write_anyway=True)
    assert last[tab.session].is_read


def test_image_that_looks_lateral_is_blocked_until_its_view_is_chosen(tab, loaded, generator, monkeypatch):
    monkeypatch.setattr(generator, "ood_detector", everything_looks_lateral())
    [blocked] = tab.write_report(loaded, "", *SETTINGS, *AUTO)
    assert blocked[tab.warnings].count("This image looks like a lateral view, but it is read as a frontal one") == 2
    [blocked] = tab.write_report(loaded, "", *SETTINGS, "PA", "lateral", *AUTO[2:])
    assert "front.png: This image looks like a lateral view" in blocked[tab.warnings]
    assert "side.png" not in blocked[tab.warnings]


def test_every_reading_has_its_own_key(tab, loaded):
    keys = {list(tab.write_report(loaded, "", *SETTINGS, *AUTO))[-1][tab.session].key for _ in range(2)}
    assert len(keys) == 2


def test_occlusion_shows_progress_and_ends_with_a_heatmap(tab, read):
    *progress, last = tab.compute_occlusion(read[-1][tab.session])
    assert all("<progress" in changes[tab.progress] for changes in progress)
    assert "checked" in last[tab.method].split("method-occlusion")[1]
    assert "<style>" in last[tab.occlusion_heat]
    [rejected] = tab.compute_occlusion(Session())
    assert "Write a report first." in rejected[tab.progress]


def test_correction_is_saved_with_its_changes(tab, read, store):
    session = read[-1][tab.session]
    images = [image.image for image in session.reading.images]
    after, message = tab.actions.correct(session, sent(reading=session.key, Edema="absent"), "Dr A")
    assert "The correction is saved." in message
    [kept] = corrections_of(store.folder, images)
    assert (kept.correction.findings, kept.correction.reader) == ("The heart is normal.", "Dr A")
    assert kept.correction.states[FINDING_INDEX["Edema"]] == NEGATIVE
    assert kept.correction.model_hash == model_identity(tab.generator).hash
    again, message = tab.actions.correct(after, sent(reading=session.key, Edema="absent"), "Dr A")
    assert (again, "already saved" in message) == (after, True)
    assert len(corrections_of(store.folder, images)) == 1
    assert "form belongs to another report" in tab.actions.correct(session, sent(reading="old"), "")[1]
    assert 'role="alert"' in tab.actions.correct(Session(), sent(), "")[1]


@pytest.mark.parametrize("has_store", [True, False])
def test_downloads_contain_the_correction_with_and_without_a_store(tab, read, monkeypatch, has_store):
    monkeypatch.setattr(tab.actions, "store", tab.actions.store if has_store else None)
    session = read[-1][tab.session]
    after, message = tab.actions.correct(session, sent(reading=session.key, Edema="absent"), "Dr A")
    assert "The downloads contain it, checked by Dr A." in message
    assert ("The correction is saved." in message) == has_store
    content = base64.b64decode(tab.actions.export("text", after, False)[0]["content"]).decode()
    assert "The heart is normal." in content
    assert "checked by Dr A" in content
    assert "Edema: absent" in content
    assert (
        "not checked by a person" in base64.b64decode(tab.actions.export("text", session, False)[0]["content"]).decode()
    )


def test_correction_of_one_reading_is_not_in_the_next(tab, read):
    session = read[-1][tab.session]
    after, _ = tab.actions.correct(session, sent(reading=session.key), "Dr A")
    *_, last = tab.write_report(after, "", *SETTINGS, *AUTO)
    assert last[tab.session].edit is None


def test_contradictory_correction_is_rejected_without_a_store(tab, read, monkeypatch):
    monkeypatch.setattr(tab.actions, "store", None)
    session = read[-1][tab.session]
    form = sent(reading=session.key, Edema="present", No_Finding="present")
    after, message = tab.actions.correct(session, form, "Dr A")
    assert (after, "No Finding contradicts Edema" in message) == (session, True)
    empty = sent(reading=session.key, findings=())
    assert "the report is empty and no finding is set" in tab.actions.correct(session, empty, "Dr A")[1]


@pytest.mark.parametrize("format", ["text", "json"])
def test_exported_file_is_inside_the_answer(tab, read, format):
    session = read[-1][tab.session]
    file, message = tab.actions.export(format, session, False)
    content = base64.b64decode(file["content"]).decode()
    assert file["name"] in message
    assert "front.png" not in content
    assert "front.png" in base64.b64decode(tab.actions.export(format, session, True)[0]["content"]).decode()
    if format == "json":
        assert [row["finding"] for row in json.loads(content)["finding_probabilities"]] == list(FINDINGS)


def test_exported_file_has_the_findings_by_organ_system_on_request(tab, read):
    session = read[-1][tab.session]
    findings = ("No effusion.", "The heart is normal.", "Lungs are clear.")
    session, _ = tab.actions.correct(session, sent(reading=session.key, findings=findings), "Dr A")
    by_system = "Lungs\nLungs are clear.\nPleura\nNo effusion.\nHeart and mediastinum\nThe heart is normal.\n"
    content = base64.b64decode(tab.actions.export("text", session, False, True)[0]["content"]).decode()
    assert by_system in content
    content = base64.b64decode(tab.actions.export("text", session, False, False)[0]["content"]).decode()
    assert " ".join(findings) in content


def test_impossible_export_gives_a_reason(tab, read):
    file, message = tab.actions.export("sr", read[-1][tab.session], False)
    assert file is None
    assert 'role="alert"' in message
    assert "DICOM" in message


@pytest.fixture
def movable(tab, read, monkeypatch):
    """The tab with a checkpoint that has ROC curves, and its session after a report."""
    curve = RocCurve(thresholds=(0.999, 0.001), sensitivities=(0.1, 1.0), specificities=(1.0, 0.1))
    calibration = replace(tab.generator.calibration, curves=(curve,) * NUM_FINDINGS)
    monkeypatch.setattr(tab.generator, "calibration", calibration)
    return read[-1][tab.session]


def test_moved_thresholds_change_predictions_and_downloads_but_not_the_report(tab, movable):
    for rate, word in (("sensitivity", "positive"), ("specificity", "negative")):
        changes = tab.move_thresholds(movable, 1, rate, 80)
        session = changes[tab.session]
        assert changes[tab.findings].count(f"prediction: </span>{word}") == NUM_FINDINGS
        assert f"thresholds for a {rate} of at least 80% on validation studies" in changes[tab.settings.moved]
        assert "write it again" not in changes[tab.settings.moved]
        assert session.key == movable.key
        assert session.reading.report == movable.reading.report
        file, _ = tab.actions.export("json", session, False)
        assert json.loads(base64.b64decode(file["content"]))["operating_point"] == f"{rate}=0.8"
    assert tab.move_thresholds(session, 1, "f1", 80)[tab.session].reading.calibration == tab.generator.calibration


def test_report_that_states_the_decisions_is_to_be_written_again(tab, movable, monkeypatch):
    calibration = replace(tab.generator.calibration, decides_reports=True)
    monkeypatch.setattr(tab.generator, "calibration", calibration)
    assert "write it again" in tab.move_thresholds(movable, 1, "sensitivity", 80)[tab.settings.moved]
    first, *_, last = tab.write_report(movable, "", 2, "sensitivity", 80, *AUTO)
    reading = last[tab.session].reading
    assert str(reading.calibration.operating_point) == "sensitivity=0.8"
    assert set(reading.calibration.thresholds) == {0.001}
    assert first[tab.settings.moved] == ""


def test_thresholds_without_a_report_or_without_curves_do_not_move(tab, read):
    assert tab.move_thresholds(Session(), 1, "sensitivity", 80) == {tab.session: Session()}
    [message] = tab.move_thresholds(read[-1][tab.session], 1, "sensitivity", 80).values()
    assert "the checkpoint has no ROC curves" in message
    *_, changes = tab.write_report(read[-1][tab.session], "", 99, "f1", 80, *AUTO)
    assert "number of reports to write is 99; give 1 to 16" in changes[tab.report]
