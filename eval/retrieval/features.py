"""Features of all studies of a data set as an index on disk: computed once, in pieces, resumable, shared by processes.

A study with unreadable images is left out and logged.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
from accelerate import PartialState

from data.study import without_images
from eval.predictions.generate import UNREADABLE
from eval.predictions.processes import Track
from eval.predictions.run import dataset_hash
from eval.retrieval.index import FeatureIndex, load_index, save_index
from vlm.generator import ReportGenerator

logger = logging.getLogger(__name__)

STUDIES_PER_PIECE = 1024


def index_studies(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    path: Path,
    *,
    checkpoint: str,
    batch_size: int,
    processes: PartialState,
    track: Track,
) -> FeatureIndex:
    """Load the index at `path`, or compute it if it is missing or has another origin; every process gets it.

    `checkpoint` is the hash of the generator's checkpoint; with the hash of the studies it identifies the index.
    """
    origin = f"checkpoint {checkpoint}, studies {dataset_hash(studies)}"
    if (kept := _kept(path, origin)) is not None:
        processes.wait_for_everyone()
        return kept
    pieces = [
        (
            path.with_name(f"{path.stem}.piece{number:05d}.safetensors"),
            range(start, min(start + STUDIES_PER_PIECE, len(studies))),
        )
        for number, start in enumerate(range(0, len(studies), STUDIES_PER_PIECE))
    ]
    mine = pieces[processes.process_index :: processes.num_processes]
    advance = track(sum(len(rows) for _, rows in mine), f"features of {path.stem}")
    for piece, rows in mine:
        if _kept(piece, origin) is None:
            save_index(piece, _features(generator, studies.select(rows), origin, batch_size, advance))
        else:
            advance(len(rows))
    processes.wait_for_everyone()
    whole = _joined([load_index(piece) for piece, _ in pieces], origin)
    processes.wait_for_everyone()  # all have read before the main process merges
    if processes.is_main_process:
        save_index(path, whole)
        for piece, _ in pieces:
            piece.unlink()
    return whole


def _kept(path: Path, origin: str) -> FeatureIndex | None:
    """The index that an earlier run saved at `path`; None if it has another origin or is damaged."""
    if not path.is_file():
        return None
    try:
        index = load_index(path)
    except ValueError as error:
        logger.warning("%s", error)
        return None
    return index if index.origin == origin else None


def _features(
    generator: ReportGenerator, studies: datasets.Dataset, origin: str, batch_size: int, advance: Callable[[int], None]
) -> FeatureIndex:
    features, indexed = [], []
    texts = without_images(studies)
    for start in range(0, len(studies), batch_size):
        rows = range(start, min(start + batch_size, len(studies)))
        read = []
        for row in rows:
            try:
                study = studies[row]
                if not study["images"]:
                    raise ValueError("it has no image")
                read.append(study)
            except UNREADABLE as error:
                logger.warning("study %s has no features: %s", texts[row]["study_id"], error)
        if read:
            images, view_positions = ([study[name] for study in read] for name in ("images", "view_positions"))
            features.append(generator.features(images, view_positions=view_positions).astype(np.float16))
        indexed += [(study["study_id"], study["subject_id"]) for study in read]
        advance(len(rows))
    study_ids, subject_ids = zip(*indexed, strict=True) if indexed else ((), ())
    return FeatureIndex(features=_stacked(features), study_ids=study_ids, subject_ids=subject_ids, origin=origin)


def _joined(pieces: Sequence[FeatureIndex], origin: str) -> FeatureIndex:
    return FeatureIndex(
        features=_stacked([piece.features for piece in pieces if len(piece.features)]),
        study_ids=tuple(study_id for piece in pieces for study_id in piece.study_ids),
        subject_ids=tuple(subject_id for piece in pieces for subject_id in piece.subject_ids),
        origin=origin,
    )


def _stacked(features: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(features) if features else np.zeros((0, 0), np.float16)
