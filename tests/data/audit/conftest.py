"""A data set with one problem of each kind, and its audit."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.helpers.audited import EVIL, audited, phantom, png, row, write

LONG_REPORT = " ".join(f"Sentence {number} tells of region {chr(97 + number)} without doubt." for number in range(20))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A data set with one problem of each kind."""
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
