"""The endpoints for programs: what they answer, and what they do not open."""

import base64
import json

import gradio as gr
import pytest
from PIL import Image

from data.corrections.correction import image_hash
from data.corrections.store import CorrectionStore, list_corrections, open_table, read_correction
from page.api import Api
from page.study.row import COLUMNS
from tests.helpers.files.zip_files import zipped
from vlm.generator import GenerationOptions, ReportGenerator

pytestmark = pytest.mark.usefixtures("gradio_cleanup")
STUDY = {"views": "auto", "indication": ""}
FILE = {"include_identity": False, "structured": False}


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture
def removed(monkeypatch):
    """The uploads that the endpoints give up for removal."""
    paths = []
    monkeypatch.setattr("page.api.remove_later", paths.extend)
    return paths


@pytest.fixture
def api(generator, removed):
    return Api(generator=generator, generation=GenerationOptions(max_new_tokens=6), store=None)


@pytest.fixture
def scan(dicom):
    return str(dicom(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4"))


def content_of(answer):
    return base64.b64decode(answer["content"])


def test_export_is_the_file_of_the_page_without_identity(api, scan, removed):
    read = api.read([scan], "auto", "", True)
    answer = api.export([scan], format="json", **FILE, **STUDY, write_anyway=True)
    document = json.loads(content_of(answer))
    assert answer["name"].endswith(".json")
    assert answer["media_type"] == "application/json"
    assert (document["status"], document["findings"]) == ("preliminary", read["findings"])
    assert document["identity"] is None
    assert b"Doe" not in content_of(answer)
    named = api.export([scan], format="json", include_identity=True, structured=False, **STUDY, write_anyway=True)
    assert b"Doe" in content_of(named)
    sr = api.export([scan], format="sr", **FILE, **STUDY, write_anyway=True)
    assert content_of(sr)[128:132] == b"DICM"
    assert removed == [scan] * 4


def test_study_is_read_exported_and_corrected_with_its_prior_study(prior_checkpoint, scan, images, tmp_path, removed):
    images[1].save(tmp_path / "before.png")
    before = [str(tmp_path / "before.png")]
    store = CorrectionStore(tmp_path / "corrections")
    generator = ReportGenerator.from_pretrained(prior_checkpoint)
    api = Api(generator=generator, generation=GenerationOptions(max_new_tokens=6), store=store)
    prior = {"prior_files": before, "prior_report": "The heart is enlarged.", "prior_views": "AP"}
    read = api.read([scan], "auto", "", True, **prior)
    assert read["prior"]["report"] == "Findings: The heart is enlarged."
    assert [image["view_position"] for image in read["prior"]["images"]] == ["AP"]
    assert len(read["changes"]) == 13
    exported = api.export([scan], format="json", **FILE, **STUDY, write_anyway=True, **prior)
    assert json.loads(content_of(exported))["changes"] == read["changes"]
    texts = {"findings": "The heart is larger.", "impression": "", "reader": ""}
    answer = api.correct([scan], **texts, states=None, format="text", **FILE, **STUDY, **prior)
    assert (answer["saved"], answer["message"]) == (True, "")
    with open_table(tmp_path / "corrections") as table:
        saved = read_correction(table, 1)
    assert saved.prior_images == (image_hash(images[1]),)
    assert saved.correction.prior_view_positions == ("AP",)
    assert saved.correction.prior_report == "Findings: The heart is enlarged."
    assert removed == [scan, *before] * 3
    with pytest.raises(gr.Error, match="has a report or an interval, but no image"):
        api.read([scan], "auto", "", True, prior_report="Clear.")


def test_prior_study_is_rejected_by_a_checkpoint_that_cannot_compare(api, scan):
    with pytest.raises(gr.Error, match="was trained without prior studies and cannot compare"):
        api.read([scan], "auto", "", True, prior_files=[scan])


def test_correction_is_saved_and_comes_back_checked(generator, api, scan, tmp_path):
    store = CorrectionStore(tmp_path / "corrections")
    saving = Api(generator=generator, generation=api.generation, store=store)
    texts = {"findings": "The lungs are clear.  Seen by Jane Doe.", "impression": "Normal.", "reader": "Dr A"}
    answer = saving.correct([scan], **texts, states={"Pneumonia": "absent"}, format="json", **FILE, **STUDY)
    document = json.loads(content_of(answer))
    assert answer["saved"] is True
    assert "replaced by ___" in answer["message"]
    assert (document["status"], document["reader"], document["impression"]) == ("final", "Dr A", "Normal.")
    assert document["reader_findings"] == {"Pneumonia": "absent"}
    with open_table(tmp_path / "corrections") as table:
        [key] = list_corrections(table)
        saved = read_correction(table, key.number)
    assert saved.correction.findings.startswith("The lungs are clear.")
    assert "Doe" not in saved.correction.findings
    without = api.correct([scan], **texts, states=None, format="text", **FILE, **STUDY)
    assert without["saved"] is False


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "exe"}, "there is no export format 'exe'; choose one of text, json"),
        ({"findings": "x" * 20_001}, "has more than 20000 characters"),
        ({"states": {"Gout": "present"}}, "there is no finding 'Gout'"),
        ({"states": {"Edema": "perhaps"}}, "Edema has the state 'perhaps'; choose one of not mentioned, present"),
        ({"states": ["Edema"]}, "states is no object"),
        ({"findings": "", "impression": ""}, "the report is empty"),
        ({"reader": "x" * 101}, "the reader's name has 101 characters"),
        ({"views": "front"}, "view position 'front' is not known"),
        ({"files": []}, "No image yet"),
    ],
)
def test_wrong_corrections_are_explained(api, scan, changes, problem):
    given = {"files": [scan], "findings": "Clear.", "impression": "", "reader": "", "states": {}, "format": "text"}
    with pytest.raises(gr.Error, match=problem):
        api.correct(**given | FILE | STUDY | changes)


def test_blocked_study_is_not_exported_without_the_wish(api, tmp_path):
    Image.new("L", (40, 40), 90).save(tmp_path / "blank.png")
    arguments = {"files": [str(tmp_path / "blank.png")], "format": "text", **FILE, **STUDY}
    with pytest.raises(gr.Error, match="write_anyway=True writes it despite the warnings: blank"):
        api.export(**arguments, write_anyway=False)
    assert "blank" in api.export(**arguments, write_anyway=True)["image_warnings"][0]


def test_worklist_counts_its_studies_and_ends_with_their_rows(api, images, tmp_path, removed):
    images[0].save(tmp_path / "a.png")
    archive = zipped(tmp_path / "x.zip", {"1.png": (tmp_path / "a.png").read_bytes(), "2.png": b"no image"})
    *growing, last = api.worklist([str(archive)], False)
    assert [(step["num_done"], step["num_studies"]) for step in growing] == [(0, 2), (1, 2), (2, 2)]
    assert [(row["study"], row["state"]) for row in last["rows"]] == [("1.png", "read"), ("2.png", "rejected")]
    assert list(last["rows"][0]) == list(COLUMNS)
    json.dumps(last, allow_nan=False)
    assert removed == [str(archive)]
    with pytest.raises(gr.Error, match="Nothing to read yet"):
        list(api.worklist([], False))
