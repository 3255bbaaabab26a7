"""The run that an output directory contains: `run.json`, written first and compared before anything is added.

Checkpoint and data set are identified by their contents, not by their paths, so both can be moved.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.study import without_images
from vlm.schema.atomic import write_json
from vlm.schema.strict_json import read_json

if TYPE_CHECKING:
    import datasets

RUN_FILE = "run.json"
COMPARED = (
    *("checkpoint", "dataset", "split", "num_studies", "max_new_tokens", "num_beams", "num_candidates"),
    *("precision", "operating_point"),
)
"""Fields in which two runs of one folder must not differ; hashes instead of paths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """Everything that determines the predictions. `num_studies` 0 means the whole split."""

    checkpoint: str
    checkpoint_hash: str
    dataset: str
    dataset_hash: str
    split: str
    num_studies: int
    max_new_tokens: int
    num_beams: int
    num_candidates: int = 1
    precision: str = "fp32"
    operating_point: str = "f1"


def claim_folder(folder: Path, record: RunRecord):
    """Write the record to a new folder, or check that the folder contains the same run, which is then resumed.

    Raises:
        ValueError: the folder contains another run, or predictions without a record; says what differs.
    """
    path = folder / RUN_FILE
    fix = "give another --output-dir, or delete this one"
    if not path.exists():
        if list(folder.glob("predictions*.jsonl")):
            raise ValueError(f"{folder} contains predictions but no {RUN_FILE}; {fix}")
        write_json(path, asdict(record))
        return
    saved = read_json(path, RunRecord)
    if saved.split != record.split:
        saved = replace(saved, dataset_hash=record.dataset_hash)  # the hash depends on the split
    differences = [
        f"{name} {_described(saved, name)} (requested: {_described(record, name)})"
        for name in COMPARED
        if _identity(saved, name) != _identity(record, name)
    ]
    if differences:
        raise ValueError(f"{folder} contains another run: {'; '.join(differences)}; {fix}")


def dataset_hash(studies: "datasets.Dataset") -> str:
    """Identify a split by every text, label and image file of it, in 16 hex digits."""
    digest = hashlib.sha256()
    for rows in without_images(studies).iter(batch_size=1000):
        digest.update(json.dumps(rows, sort_keys=True).encode())
    for table in studies.with_format("arrow").select_columns("images").iter(batch_size=100):
        for image in table["images"].combine_chunks().flatten().field("bytes"):
            digest.update(hashlib.sha256(image.as_buffer()).digest())
    return digest.hexdigest()[:16]


def _identity(record: RunRecord, name: str):
    return getattr(record, f"{name}_hash", None) or getattr(record, name)


def _described(record: RunRecord, name: str) -> str:
    contents = getattr(record, f"{name}_hash", None)
    return f"{getattr(record, name)}" + (f" [{contents}]" if contents else "")
