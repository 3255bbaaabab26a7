"""Worklists: the same reports as one by one, a row for every file, sorted, and safe as files."""

import csv
import io
import json

import gradio as gr
import pytest
from PIL import Image

from page.cards.worklist import MAX_SHOWN, worklist_html
from page.export.table import worklist_csv, worklist_jsonl
from page.study.read import read_files
from page.study.record import CUT_OFF
from page.study.row import BLOCKED, COLUMNS, READ, REJECTED, StudyRow
from page.study.worklist import ReadOptions, read_worklist, sort_by_probability
from page.tabs.worklist import ANY_FINDING, WorklistTab
from tests.helpers.files.zip_files import zipped
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS
from vlm.uncertainty import NO_CHECK, Calibration

pytestmark = [
    pytest.mark.usefixtures("gradio_cleanup"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]
SHORT = GenerationOptions(max_new_tokens=12)


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


def as_png(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def rows_of(generator, *sources, **settings):
    options = ReadOptions(generation=SHORT, include_identity=True, **settings)
    return [row for row, *_ in read_worklist(generator, sources, options) if row is not None]


def synthetic(study="s", state=READ, **probabilities):
    values = {name.replace("_", " "): value for name, value in probabilities.items()}
    positive = tuple(name for name, value in values.items() if value >= 0.5)
    return StudyRow(
        study=study,
        files=(study,),
        state=state,
        probabilities=values,
        predicted_positive=positive,
        report=f"R {study}",
        model="m [1]",
    )


def test_each_study_gets_the_same_report_as_alone(generator, images, tmp_path):
    archive = zipped(
        tmp_path / "x.zip",
        {"a/1.png": as_png(images[0]), "a/2.png": as_png(images[1]), "b.png": as_png(images[2])},
    )
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        images[number].save(paths[-1])
    pair, single = rows_of(generator, archive)
    for row, files in ((pair, paths[:2]), (single, paths[2:])):
        *_, reading = read_files(generator, files, options=SHORT)
        assert row.report == reading.report.report.strip()
        expected_errors = generator.calibration.expected_errors(reading.report.finding_probabilities)
        assert row.expected_errors == pytest.approx(expected_errors)
        probabilities = [row.probabilities[finding] for finding in FINDINGS]
        assert probabilities == pytest.approx(reading.report.finding_probabilities, abs=1e-6)
    assert pair.files == ("a/1.png", "a/2.png")
    assert pair.reason == f"Not checked whether the images resemble those of the training: {NO_CHECK}. {CUT_OFF}"


def test_bad_file_is_a_row_and_all_others_are_read(generator, images, tmp_path):
    entries = {
        "a/good.png": as_png(images[0]),
        "a/notes.txt": b"no image",
        "inner.zip": b"PK\x03\x04",
        "cut.png": as_png(images[1])[:60],
        "blank.png": as_png(Image.new("L", (40, 40), 90)),
    }
    rows = {row.study: row for row in rows_of(generator, zipped(tmp_path / "x.zip", entries), tmp_path / "gone.zip")}
    assert {study: row.state for study, row in rows.items()} == {
        "a": READ, "inner.zip": REJECTED, "cut.png": REJECTED, "blank.png": BLOCKED, "gone.zip": REJECTED,
    }  # fmt: skip
    assert rows["a"].files == ("a/good.png", "a/notes.txt")
    assert len(rows["a"].view_positions) == 1
    assert rows["a"].reason.startswith("Not used: a/notes.txt: its content is none of PNG")
    assert "is a zip within a zip" in rows["inner.zip"].reason
    assert "damaged or cut short" in rows["cut.png"].reason
    assert rows["blank.png"].reason.startswith(
        "blank.png: The image is blank; all pixels have about the same gray level. "
    )
    assert not rows["blank.png"].report


def test_broken_entry_of_a_zip_is_a_row(generator, images, tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.png": as_png(images[0]), "b.png": as_png(images[1])})
    content = bytearray(path.read_bytes())
    content[60:70] = bytes(10)
    path.write_bytes(content)
    broken, whole = rows_of(generator, path)
    assert (broken.study, broken.state) == ("a.png", REJECTED)
    assert "a.png" in broken.reason
    assert (whole.study, whole.state) == ("b.png", READ)


def test_blocked_studies_are_read_on_request(generator, tmp_path):
    Image.new("L", (40, 40), 90).save(tmp_path / "blank.png")
    [row] = rows_of(generator, tmp_path / "blank.png", write_anyway=True)
    assert row.state == READ
    assert row.reason.startswith("blank.png: The image is blank")


def test_study_with_too_many_slices_is_rejected(generator, tmp_path, dicom):
    slices = {str(number): dicom(StudyInstanceUID="1.2.3").read_bytes() for number in range(7)}
    [row] = rows_of(generator, zipped(tmp_path / "x.zip", slices))
    assert (row.state, row.study_uid, len(row.files)) == (REJECTED, "1.2.3", 7)
    assert row.reason == "has 7 images, more than the 6 that one study may have"


def test_steps_give_the_progress(generator, images, tmp_path):
    archive = zipped(tmp_path / "x.zip", {"1.png": as_png(images[0]), "2.png": as_png(images[1])})
    steps = list(read_worklist(generator, [archive], ReadOptions(generation=SHORT)))
    assert [(num_done, num_studies, row is None) for row, num_done, num_studies in steps] == [
        (0, 2, True),
        (1, 2, False),
        (2, 2, False),
    ]
    with pytest.raises(ValueError, match="upload a zip, a folder, or several files first"):
        next(read_worklist(generator, [], ReadOptions()))


def test_rows_are_sorted_by_the_most_probable_finding():
    rows = [
        synthetic("devices", Support_Devices=0.9, No_Finding=0.8, Edema=0.1),
        synthetic("rejected", state=REJECTED),
        synthetic("ill", Edema=0.2, Pneumothorax=0.7),
        synthetic("blocked", state=BLOCKED),
        synthetic("unsure", Edema=0.4),
    ]
    assert [row.study for row in sort_by_probability(rows)] == ["ill", "unsure", "devices", "blocked", "rejected"]
    assert [row.study for row in sort_by_probability(rows, "Edema")][:3] == ["unsure", "ill", "devices"]
    assert rows[2].most_probable == "Pneumothorax"
    with pytest.raises(ValueError, match="there is no finding 'Gout'"):
        sort_by_probability(rows, "Gout")


def test_findings_without_training_labels_are_ignored(generator, images, tmp_path, monkeypatch):
    images[0].save(tmp_path / "a.png")
    labelled = tuple(int(finding == "Pneumonia") * 9 for finding in FINDINGS)
    monkeypatch.setattr(generator, "calibration", Calibration(num_labeled=labelled, thresholds=(0.0001,) * 14))
    [row] = rows_of(generator, tmp_path / "a.png")
    assert list(row.probabilities) == list(row.predicted_positive) == [row.most_probable] == ["Pneumonia"]


def test_csv_has_every_row_and_no_formula():
    rows = [
        synthetic("=HYPERLINK(1)", Edema=0.91),
        StudyRow(study="@a", files=("+a", "-b"), state=REJECTED, reason='-x, "quoted"'),
    ]
    read = list(csv.DictReader(io.StringIO(worklist_csv(rows))))
    assert [row["study"] for row in read] == ["'=HYPERLINK(1)", "'@a"]
    assert (read[1]["files"], read[1]["reason"]) == ("'+a; -b", '\'-x, "quoted"')
    assert (read[0]["any_finding"], read[0]["most_probable"], read[0]["Edema"]) == ("0.91", "Edema", "0.91")
    assert (read[1]["any_finding"], read[1]["Edema"], read[1]["rank"], read[0]["model"]) == ("", "", "2", "m [1]")
    assert list(read[0]) == ["rank", *COLUMNS]


def test_json_lines_have_the_same_values_with_types():
    first, second = (
        json.loads(line) for line in worklist_jsonl([synthetic("=é", Edema=0.9), synthetic("b")]).splitlines()
    )
    assert (first["rank"], first["study"], first["Edema"], first["Fracture"]) == (1, "=é", 0.9, None)
    assert (first["predicted_positive"], second["any_finding"]) == (["Edema"], None)


def test_text_from_files_is_escaped():
    row = StudyRow(study="<img src=x>", files=("a",), state=REJECTED, reason="<b>bad</b>")
    html = worklist_html([row, synthetic("<i>", Edema=0.5)])
    assert "<img src=x>" not in html
    assert "<b>bad" not in html
    assert "&lt;img src=x&gt;" in html
    many = worklist_html([synthetic(Edema=0.5)] * (MAX_SHOWN + 3))
    assert many.count('scope="row"') == MAX_SHOWN
    assert "3 more rows are in the files" in many


@pytest.fixture
def tab(generator, tmp_path):

    with gr.Blocks(analytics_enabled=False):
        return WorklistTab(generator, SHORT, folder=tmp_path)


def test_tab_shows_rows_while_reading_and_counts_at_the_end(tab, images, tmp_path):
    for number in range(3):
        images[number].save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("x")
    *growing, last = tab.read([str(path) for path in sorted(tmp_path.iterdir())], False, ANY_FINDING)
    assert "0 of 4 studies" in growing[0][tab.progress]
    assert len(growing[1][tab.rows]) == 1
    assert "3 read, 1 could not be read." in last[tab.progress]
    assert len(last[tab.rows]) == 4
    *_, folder = tab.read_folder(False, ANY_FINDING)
    assert len(folder[tab.rows]) == 4
    file, message = tab.export("csv", last[tab.rows], "Edema")
    assert file["name"].endswith(".csv")
    assert file["name"] in message


def test_uploads_that_are_removed_while_waiting_are_still_read(tab, images, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    steps = tab.read([*map(str, paths), str(tmp_path / "gone.png")], False, ANY_FINDING)
    next(steps)
    for path in paths:
        path.unlink()
    *_, last = steps
    assert [(row.study, row.state) for row in last[tab.rows]] == [
        ("gone.png", REJECTED),
        ("0.png", READ),
        ("1.png", READ),
    ]


def test_tab_explains_missing_input_and_reads_no_other_server_folder(tab, generator):
    [changes] = tab.read(None, False, ANY_FINDING)
    assert "upload a zip, a folder, or several files first" in changes[tab.progress]
    assert tab.export("csv", (), ANY_FINDING)[0] is None
    tab.folder = None
    [changes] = tab.read_folder(False, ANY_FINDING)
    assert "Nothing to read yet" in changes[tab.progress]


def test_closing_an_unfinished_worklist_closes_its_files(generator, images, tmp_path):
    archive = zipped(tmp_path / "x.zip", {f"{n}.png": as_png(images[n]) for n in range(3)})
    steps = read_worklist(generator, [archive], ReadOptions(generation=SHORT))
    next(steps)
    next(steps)
    opened = steps.gi_frame.f_locals["files"][0].read.args[0]
    steps.close()
    assert opened.fp is None
