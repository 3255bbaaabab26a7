"""Data sets for the audit."""

import json
from io import BytesIO

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image, ImageDraw

from data.audit.document import audit
from data.audit.verdict import judge
from data.study import FEATURES
from data.synthetic.source import make_study
from vlm.schema.findings import UNLABELED_STUDY

EVIL = '<script>alert("x")</script>'


LONG_REPORT = " ".join(f"Sentence {number} tells of region {chr(97 + number)} without doubt." for number in range(20))


def png(image):
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def phantom(number, size=128):
    return make_study(5, number, size).images[0]


def row(number, image, **changes):
    content = image if isinstance(image, bytes) else png(image)
    return {
        "study_id": f"study-{number}",
        "subject_id": f"patient-{number}",
        "images": [{"bytes": content, "path": None}],
        "view_positions": ["PA"],
        "indication": "",
        "findings": f"The heart is normal. Finding {number}.",
        "impression": "",
        "labels": list(UNLABELED_STUDY),
        "boxes": [],
        "mesh_terms": [],
        "source": "made up",
        "license": "CC0",
    } | changes


def write(folder, **splits):
    rows = {split: datasets.Dataset.from_list(rows, features=FEATURES) for split, rows in splits.items()}
    datasets.DatasetDict(rows).save_to_disk(str(folder))
    return folder


def silent(total, description):
    return lambda amount: None


def audited(folder):
    document = audit(folder, num_workers=1, track=silent)
    return document | {"verdict": judge(document)}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder in which everything is wrong once."""
    copy = np.asarray(phantom(2))
    altered = cv2.convertScaleAbs(cv2.resize(copy[2:-1, 1:-2], (100, 100), interpolation=cv2.INTER_AREA), alpha=0.9)
    written = phantom(3, 512)
    ImageDraw.Draw(written).text((20, 20), "DOE JANE 1950", fill=255, font_size=24)
    folder = tmp_path_factory.mktemp("audit") / "bad"
    train = [
        row(0, phantom(0)),
        row(1, phantom(1), subject_id="crossing"),
        row(2, phantom(2), findings=LONG_REPORT),
        row(3, written, findings="Seen by Dr. Jane Doe on 03/04/2019. No effusion."),
        row(4, png(phantom(4))[:400]),
        row(5, Image.new("L", (64, 64), 7)),
        row(6, phantom(6), findings="", impression="The effusion is unchanged since the prior study."),
        row(7, phantom(7), study_id=EVIL),
        row(8, phantom(8), study_id=EVIL, license=""),
    ]
    test = [
        row(20, phantom(20), subject_id="crossing"),
        row(21, phantom(0), findings=LONG_REPORT.replace("region a", "region z")),
        row(22, Image.fromarray(altered)),
    ]
    write(folder, train=train, test=test)
    rejected = [
        {"rejected": "study", "study_id": "a1", "reason": "x/a1.png: is empty (0 bytes)", "files": ["x/a1.png"]},
        {"rejected": "study", "study_id": "a2", "reason": "x/a2.png: is empty (10 bytes)", "files": ["x/a2.png"]},
        {"rejected": "image", "study_id": "a3", "reason": "too small", "files": []},
    ]
    lines = [*map(json.dumps, rejected), "{not json", ""]
    (folder / "rejected.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def document(bad):
    return audited(bad)
