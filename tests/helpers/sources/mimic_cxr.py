"""MIMIC-CXR-JPG in the published layout with invented text: tables, images and reports."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
from PIL import Image

from vlm.schema.findings import FINDINGS

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // pneumonia?

 COMPARISON:  None.

 FINDINGS:

 The lungs are clear.  There is no
 effusion.

 IMPRESSION:

 No acute process.
"""

PIXELS = np.arange(40 * 30, dtype=np.uint32).astype(np.uint8).reshape(40, 30)

STUDIES = [  # patient, study, split, views
    (10000032, 50414267, "train", ("PA", "LATERAL")),
    (10000032, 53189527, "train", ("AP",)),
    (10000764, 57375967, "validate", ("",)),
    (10000898, 50771383, "test", ("PA", "LL")),
]


def dicom_id(study: int, view: int) -> str:
    return f"{study:08x}-{view:08x}-112c0b34-7bc16630-4e384014"


def write_table(path: Path, rows: list[dict]) -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    content = file.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def labels_row(subject: int, study: int, **values: str) -> dict:
    blank = dict.fromkeys(sorted(FINDINGS), "")
    return (
        {"subject_id": subject, "study_id": study} | blank | {name.replace("_", " "): v for name, v in values.items()}
    )


def write_tables(root: Path, *, version="2.0.0", suffix=".csv", studies=STUDIES) -> None:
    images = [
        (dicom_id(study, number), subject, study, view, split)
        for subject, study, split, views in studies
        for number, view in enumerate(views)
    ]
    rows = [
        {"dicom_id": name, "subject_id": subject, "study_id": study, "Rows": 3056, "ViewPosition": view}
        for name, subject, study, view, _ in images
    ]
    write_table(root / f"mimic-cxr-{version}-metadata{suffix}", rows)
    rows = [
        {"dicom_id": name, "study_id": study, "subject_id": subject, "split": split}
        for name, subject, study, _, split in images
    ]
    write_table(root / f"mimic-cxr-{version}-split{suffix}", rows)
    rows = [labels_row(subject, study, Edema="1.0", Fracture="-1.0", Pneumonia="0.0") for subject, study, *_ in studies]
    write_table(root / f"mimic-cxr-{version}-chexpert{suffix}", rows)
    rows = [labels_row(subject, study, No_Finding="1.0") for subject, study, *_ in studies]
    write_table(root / f"mimic-cxr-{version}-negbio{suffix}", rows)


def study_folder(subject: int, study: int) -> str:
    return f"files/p{str(subject)[:2]}/p{subject}/s{study}"


def write_images(root: Path, studies=STUDIES) -> None:
    for subject, study, _, views in studies:
        folder = root / study_folder(subject, study)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(len(views)):
            Image.fromarray(PIXELS).save(folder / f"{dicom_id(study, number)}.jpg")


def write_reports(root: Path, studies=STUDIES, text: str = REPORT) -> None:
    for subject, study, *_ in studies:
        path = root / f"{study_folder(subject, study)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
