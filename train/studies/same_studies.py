"""A digest of the studies of a run: saved when it starts, and compared when it resumes.

Another data set under the same path would give a resumed run other studies, so that it trains on patients it then
validates on. Ids, labels and texts are read, which takes seconds for 100,000 studies; no image is read, so other images
of the same studies are only noticed by their preprocessing. With --stream, `train.studies.stream_files` compares files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets

from vlm.schema.atomic import write_json
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.strict_json import read_json

STUDY_DIGESTS = "study_digests.json"
COLUMNS = (
    *("study_id", "subject_id", "view_positions", "indication", "findings", "impression", "labels", "severities"),
    *("boxes", "prior_view_positions", "prior_report", "changes"),
)
"""What a model learns from, without images. Columns that the studies do not have are left out."""
_BATCH_ROWS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitDigest:
    """A digest of the studies of a split, in their order."""

    num_studies: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyDigests:
    """The studies that a training reads."""

    train: SplitDigest
    validation: SplitDigest
    preprocessing: Preprocessing


def check_same_studies(
    folder: Path, splits: Mapping[str, datasets.Dataset], preprocessing: Preprocessing, *, name: str
) -> None:
    """Save the digests in the folder of the run or, if the folder has them, compare them. `name` is the option with the
    data sets.

    Raises:
        ValueError: the studies or their preprocessing are not those at the start of the run.
    """
    path = folder / STUDY_DIGESTS
    given = StudyDigests(
        train=_digest(splits["train"]), validation=_digest(splits["validation"]), preprocessing=preprocessing
    )
    if not path.is_file():
        write_json(path, asdict(given))
        return
    saved = read_json(path, StudyDigests)
    for split in ("train", "validation"):
        if (old := getattr(saved, split)) != (new := getattr(given, split)):
            _reject(path, f"the studies of the {split} split of {name}", _describe(old), _describe(new))
    if saved.preprocessing != preprocessing:
        _reject(path, f"the preprocessing of {name}", str(saved.preprocessing), str(preprocessing))


def _digest(rows: datasets.Dataset) -> SplitDigest:
    names = [name for name in COLUMNS if name in rows.column_names]
    digest = hashlib.sha256(json.dumps(names).encode())
    for batch in rows.select_columns(names).iter(_BATCH_ROWS):
        digest.update(json.dumps([batch[name] for name in names]).encode())
    return SplitDigest(num_studies=len(rows), digest=digest.hexdigest()[:32])


def _describe(split: SplitDigest) -> str:
    return f"{split.num_studies:,} studies with the digest {split.digest[:8]}"


def _reject(path: Path, what: str, before: str, now: str) -> None:
    raise ValueError(
        f"--resume: {what} changed since the run began ({path}): {before} before, {now} now. Patients that it trained "
        "on may now be in its validation split. Give the data set of the run (the same options of data.prepare and the "
        "same seed make it again), or start a new run in another folder"
    )
