"""An index of studies by what they look like: features as float16 with study and subject ids, in one safetensors file.

Features of some studies in, their nearest neighbours of other patients out, by an exact search in bounded memory. It
serves as a baseline for reports (`eval.controls.neighbours`) and to show similar cases; it knows neither model nor
data set.

Features of all studies of a data set, as an index on disk: computed once, in pieces, resumable, shared by processes.

A generator and studies in, `eval.retrieval.index.FeatureIndex` out. A study whose images cannot be read is left
out and
logged.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from eval.predictions.generate import UNREADABLE
from eval.predictions.run import Track, dataset_hash
from vlm.generator import ReportGenerator

INDEX_FILE = "similar_studies.safetensors"
"""Its name where it lies in a checkpoint folder; it is no part of the model."""
_QUERIES_AT_ONCE, _STUDIES_AT_ONCE = 256, 8192
_DECIMALS = 6
"""Equal features come out of differently cut products with differences below this; rounded, they tie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureIndex:
    """`features` float16 [studies, width]; only their direction counts. `origin` says what they were computed from."""

    features: np.ndarray
    study_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    origin: str = ""

    def __post_init__(self):
        if not len(self.features) == len(self.study_ids) == len(self.subject_ids):
            raise ValueError(
                f"an index needs as many features ({len(self.features)}) as study ids ({len(self.study_ids)}) and "
                f"subject ids ({len(self.subject_ids)})"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """`positions` [queries, number] in the index, nearest first, and their cosine similarities; -1 and NaN where there
    are fewer studies of other patients than asked for."""

    positions: np.ndarray
    similarities: np.ndarray


def nearest(
    index: FeatureIndex,
    queries: np.ndarray,
    *,
    study_ids: Sequence[str],
    subject_ids: Sequence[str],
    number: int = 1,
) -> Neighbours:
    """For each query the nearest studies of other patients; of equally near ones the first in the index.

    `study_ids` and `subject_ids` are the queries'; a study without a subject id is known by its own id.

    Raises:
        ValueError: the queries' width is not the index's.
    """
    if len(index.features) and len(queries) and queries.shape[1:] != index.features.shape[1:]:
        raise ValueError(f"queries are {queries.shape} but the index has features of width {index.features.shape[1]}")
    code_of: dict[str, int] = {}
    patients = _patients(index.subject_ids, index.study_ids, code_of)
    query_patients = _patients(subject_ids, study_ids, code_of)
    positions = np.full((len(queries), number), -1, dtype=np.int64)
    similarities = np.full((len(queries), number), -np.inf, dtype=np.float32)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        some_queries = _unit(queries[some])
        for first in range(0, len(index.features), _STUDIES_AT_ONCE):
            there = slice(first, first + _STUDIES_AT_ONCE)
            product = np.round(some_queries @ _unit(index.features[there]).T, _DECIMALS)
            product[query_patients[some, None] == patients[None, there]] = -np.inf
            # What was found before stands first, so that it wins a tie.
            candidates = np.concatenate([similarities[some], product], axis=1)
            names = np.broadcast_to(np.arange(first, first + product.shape[1]), product.shape)
            names = np.concatenate([positions[some], names], axis=1)
            positions[some], similarities[some] = _highest(candidates, names, number)
    found = np.isfinite(similarities)
    return Neighbours(
        positions=np.where(found, positions, -1), similarities=np.where(found, similarities, np.nan).astype(np.float32)
    )


def save_index(path: Path, index: FeatureIndex) -> None:
    """Writes the index to one file; either the old file stands or the new one."""
    metadata = {
        "study_ids": json.dumps(index.study_ids),
        "subject_ids": json.dumps(index.subject_ids),
        "origin": index.origin,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    features = np.ascontiguousarray(index.features, dtype=np.float16)
    save_file({"features": features}, unfinished, metadata=metadata)
    unfinished.replace(path)


def load_index(path: Path) -> FeatureIndex:
    """The index that `save_index` wrote.

    Raises:
        ValueError: there is no such file, or it is damaged or no index; names it.
    """
    mend = "make it again, for example by eval.controls.neighbours"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; {mend}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            features = file.get_tensor("features")
        study_ids, subject_ids = (tuple(json.loads(metadata[name])) for name in ("study_ids", "subject_ids"))
    except (SafetensorError, KeyError, json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is damaged or no index of features ({error}); {mend}") from error
    if features.ndim != 2:
        raise ValueError(f"{path}: features are {features.shape}, not [studies, width]; {mend}")
    try:
        return FeatureIndex(
            features=features, study_ids=study_ids, subject_ids=subject_ids, origin=metadata.get("origin", "")
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {mend}") from error


def _unit(features: np.ndarray) -> np.ndarray:
    """As float32 of length 1, which float16 has rounded off."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _patients(subject_ids: Sequence[str], study_ids: Sequence[str], code_of: dict[str, int]) -> np.ndarray:
    names = [subject or f"study {study}" for subject, study in zip(subject_ids, study_ids, strict=True)]
    return np.array([code_of.setdefault(name, len(code_of)) for name in names], dtype=np.int64)


def _highest(values: np.ndarray, names: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Names and values of the highest in each row, in order; of equal ones the first."""
    values = values.copy()
    rows = np.arange(len(values))
    best_names, best_values = [], []
    for _ in range(number):
        best = values.argmax(axis=1)
        best_names.append(names[rows, best])
        best_values.append(values[rows, best])
        values[rows, best] = -np.inf
    return np.stack(best_names, axis=1), np.stack(best_values, axis=1)


logger = logging.getLogger(__name__)

STUDIES_A_PIECE = 1024


def feature_origin(checkpoint: str, studies: datasets.Dataset) -> str:
    """What an index is known by: the hash of the checkpoint and of the studies."""
    return f"checkpoint {checkpoint}, studies {dataset_hash(studies)}"


def index_studies(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    path: Path,
    *,
    origin: str,
    batch_size: int,
    processes: PartialState,
    track: Track,
) -> FeatureIndex:
    """The index at `path`, computed where it is not there or of another `origin`; the same in every process."""
    if (kept := _kept(path, origin)) is not None:
        processes.wait_for_everyone()
        return kept
    pieces = [
        (
            path.with_name(f"{path.stem}.piece{number:05d}.safetensors"),
            range(start, min(start + STUDIES_A_PIECE, len(studies))),
        )
        for number, start in enumerate(range(0, len(studies), STUDIES_A_PIECE))
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
    """What an earlier run left at `path`, unless it is of something else, or damaged."""
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
    features, study_ids, subject_ids = [], [], []
    texts = studies.remove_columns("images")
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
            features.append(
                generator.features(
                    [study["images"] for study in read], view_positions=[study["view_positions"] for study in read]
                ).astype(np.float16)
            )
        study_ids += [study["study_id"] for study in read]
        subject_ids += [study["subject_id"] for study in read]
        advance(len(rows))
    return FeatureIndex(
        features=np.concatenate(features) if features else np.zeros((0, 0), np.float16),
        study_ids=tuple(study_ids),
        subject_ids=tuple(subject_ids),
        origin=origin,
    )


def _joined(pieces: Sequence[FeatureIndex], origin: str) -> FeatureIndex:
    filled = [piece.features for piece in pieces if len(piece.features)]
    return FeatureIndex(
        features=np.concatenate(filled) if filled else np.zeros((0, 0), np.float16),
        study_ids=tuple(study_id for piece in pieces for study_id in piece.study_ids),
        subject_ids=tuple(subject_id for piece in pieces for subject_id in piece.subject_ids),
        origin=origin,
    )
