"""Preparing reports with lines, forms, placeholders, markup and other languages, from the table to the labels."""

import json

import numpy as np
import pytest
from PIL import Image

from data.prepare import main as prepare
from data.reports.labeler.labeler import label_report
from data.study import load_studies
from tests.helpers.dicom.files import content_of
from tests.helpers.sources.tables import csv_of
from vlm.schema.findings import FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN
from vlm.schema.report_format import compose_report

STATES = {POSITIVE: "positive", NEGATIVE: "negative", UNCERTAIN: "uncertain"}


@pytest.fixture
def prepared(tmp_path, capsys):
    def prepare_rows(*flags, **reports):
        """The rows of the prepared data set by study id, and the printed text."""
        Image.effect_noise((64, 64), 50).convert("L").save(tmp_path / "image.png")
        empty = {"image": "image.png", "findings": "", "impression": "", "report": ""}
        table = csv_of(tmp_path, [{"study_id": name} | empty | texts for name, texts in reports.items()])
        split = ("--split-fractions", "1", "0", "0", "--num-workers", "1")
        prepare(["table", str(table), "--out", str(tmp_path / "out"), *split, *flags])
        rows = {row["study_id"]: row for row in load_studies(tmp_path / "out")["train"]}
        return rows, " ".join(capsys.readouterr().out.split())

    return prepare_rows


def states(labels):
    return {finding: STATES[code] for finding, code in zip(FINDINGS, labels, strict=True) if code in STATES}


def test_labels_are_read_from_lines_and_sections(prepared):
    rows, _ = prepared(
        sections={"findings": "Heart size is normal. No edema", "impression": "Right rib fracture."},
        lines={"report": "FINDINGS:\nNo edema\nRight rib fracture\n\nIMPRESSION:\nRight rib fracture"},
        form={"report": "Edema: No\nFracture: Yes, right rib\nHeart: enlarged"},
        none={"findings": "None", "impression": "Right rib fracture."},
    )
    assert {name: states(row["labels"]) for name, row in rows.items()} == {
        "sections": {"Cardiomegaly": "negative", "Edema": "negative", "Fracture": "positive"},
        "lines": {"Edema": "negative", "Fracture": "positive"},
        "form": {"Edema": "negative", "Fracture": "positive", "Cardiomegaly": "positive"},
        "none": {"Fracture": "positive"},
    }


def test_stored_report_has_the_labels_of_its_source(prepared):
    """`eval.score` reads the labels of the stored text again."""
    rows, _ = prepared(
        lines={"findings": "No edema\nRight rib fracture\nno nodule", "impression": "Fracture\nNo effusion"},
        form={"findings": "Edema? No\nNodule - none\n[x] Effusion\n[ ] Pneumothorax", "impression": ""},
    )
    for row in rows.values():
        report = compose_report(findings=row["findings"], impression=row["impression"])
        assert tuple(row["labels"]) == label_report(report)
    assert rows["lines"]["findings"] == "No edema. Right rib fracture. no nodule"


def test_placeholders_are_blank_and_counted(prepared, tmp_path):
    rows, printed = prepared(
        real={"findings": "nan", "impression": "No edema."},
        other={"findings": "N/A", "impression": "to_generate", "report": "No edema."},
        empty={"findings": "NULL", "impression": "none"},
        pending={"report": "Report pending."},
    )
    assert {name: (row["findings"], row["impression"]) for name, row in rows.items()} == {
        "real": ("", "No edema."),
        "other": ("No edema.", ""),
    }
    assert "placeholders for no text 1" in printed
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert {entry["study_id"]: entry["reason"] for entry in rejected} == {
        "empty": "has neither a report nor labels (its text is 'NULL')",
        "pending": "has neither a report nor labels (its text is 'Report pending.')",
    }


def test_text_that_says_nothing_is_not_no_finding(prepared):
    rows, printed = prepared(above={"findings": "As above."}, other={"report": "See CT report of same day."})
    assert [states(row["labels"]) for row in rows.values()] == [{}, {}]
    assert "Warning: most reports match no phrase of the labeler (2 of 2)" in printed


def test_other_languages_have_no_labels_and_are_noted(prepared):
    rows, printed = prepared(
        german={"report": "Befund: Kein Ödem. Keine Fraktur. Kein Pneumothorax. Herz normal groß."},
        french={"report": "Pas de fracture. Pas d'oedème. Silhouette cardiaque normale."},
        english={"report": "The heart is normal in size. There is no edema."},
    )
    assert [states(rows[name]["labels"]) for name in ("german", "french")] == [{}, {}]
    assert "Warning: most reports may not be English (2 of 3)" in printed


def test_markup_and_escaped_line_breaks_are_not_text(prepared):
    rows, _ = prepared(
        html={"report": "<div><b>FINDINGS:</b>Edema &lt; 2 cm<br>No nodule</div><p>IMPRESSION: A&nbsp;&amp; b.</p>"},
        escaped={"report": r"FINDINGS:\r\nNo edema\nFracture\n\nIMPRESSION:\nFracture."},
        excel={"report": "FINDINGS:_x000D_\nNo edema_x000D_\nFracture_x000D_\nIMPRESSION: Fracture."},
        hl7={"report": r"FINDINGS:\.br\No edema\.br\Fracture\.br\IMPRESSION:\.br\Fracture."},
    )  # fmt: skip
    assert {name: (row["findings"], row["impression"]) for name, row in rows.items()} == {
        "html": ("Edema < 2 cm. No nodule", "A & b."),
        "escaped": ("No edema. Fracture", "Fracture."),
        "excel": ("No edema. Fracture", "Fracture."),
        "hl7": ("No edema. Fracture", "Fracture."),
    }


def test_name_that_is_a_finding_stays_in_the_report_and_is_warned_of(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    ids = {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3.4", "AccessionNumber": "ACC9", "PatientID": "X123"}
    (tmp_path / "archive").mkdir()
    content = content_of(pixels, PatientName="EDEMA^BETTINA", Modality="DX", BodyPartExamined="CHEST", **ids)
    (tmp_path / "archive" / "image.dcm").write_bytes(content)
    table = csv_of(tmp_path, [{"accession": "ACC9", "report": "Edema of both lungs. Bettina Edema was examined."}])
    split = ("--split-fractions", "1", "0", "0", "--num-workers", "1")
    prepare(
        ["dicom", "--root", str(tmp_path / "archive"), "--reports", str(table), "--out", str(tmp_path / "out"), *split]
    )
    [row] = load_studies(tmp_path / "out")["train"]
    assert row["findings"] == "Edema of both lungs. ___ was examined."
    assert states(row["labels"]) == {"Edema": "positive"}
    [warning] = map(json.loads, (tmp_path / "out" / "warnings.jsonl").read_text().splitlines())
    assert (warning["study_id"], warning["view"]) == (row["study_id"], 0)
    assert "also a word of reports" in warning["warning"]
    assert "EDEMA" not in json.dumps(warning)
    assert "BETTINA" not in capsys.readouterr().out.upper()
