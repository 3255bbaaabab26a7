"""Data sets for tests of the audit."""

from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

from data.audit.document import audit
from data.audit.verdict import judge
from data.study import FEATURES
from data.synthetic.source import make_study
from vlm.schema.findings import UNLABELED_STUDY

EVIL = '<script>alert("x")</script>'


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def phantom(number: int, size: int = 128) -> Image.Image:
    return make_study(5, number, size).images[0]


def row(number: int, image: Image.Image | bytes, **changes: Any) -> dict[str, Any]:
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
        "label_source": "source",
        "severities": [-1] * 14,
        "mesh_terms": [],
        "sex": "",
        "age": None,
        "manufacturer": "",
        "prior_images": [],
        "prior_view_positions": [],
        "prior_report": "",
        "prior_interval_days": None,
        "changes": [-1] * 14,
        "source": "made up",
        "license": "CC0",
    } | changes


def write(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    rows = {split: datasets.Dataset.from_list(rows, features=FEATURES) for split, rows in splits.items()}
    datasets.DatasetDict(rows).save_to_disk(str(folder))
    return folder


def no_progress(total: int, description: str):
    return lambda amount: None


def audited(folder: Path) -> dict[str, Any]:
    document = audit(folder, num_workers=1, track=no_progress)
    return document | {"verdict": judge(document)}
