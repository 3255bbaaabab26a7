"""An index of studies by image features: float16 features with study and subject ids, in one safetensors file.

`nearest` finds the most similar studies of other patients by exact search in bounded memory. This file needs no model
and no data set; `eval.retrieval.features` computes the features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlm.schema.atomic import atomic_file

INDEX_FILE = "similar_studies.safetensors"
"""Name of the index in a checkpoint folder. It is not part of the model."""
_QUERIES_AT_ONCE, _STUDIES_AT_ONCE = 256, 8192
_DECIMALS = 6
"""Products are rounded so that equal features tie, whatever the block size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureIndex:
    """`features` float16 [studies, width], compared by cosine; `origin` says what they were computed from."""

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


def nearest(
    index: FeatureIndex,
    queries: np.ndarray,
    *,
    study_ids: Sequence[str],
    subject_ids: Sequence[str],
    number: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [queries, number] in the index of the nearest studies of other patients, and their cosine similarities.

    The nearest is first; ties go to the first in the index. -1 and NaN if there are too few studies of other patients.
    `study_ids` and `subject_ids` are those of the queries; a study without a subject id counts as its own subject.

    Raises:
        ValueError: the width of the queries differs from the index.
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
            # Earlier results come first, so that they win ties.
            candidates = np.concatenate([similarities[some], product], axis=1)
            names = np.broadcast_to(np.arange(first, first + product.shape[1]), product.shape)
            names = np.concatenate([positions[some], names], axis=1)
            positions[some], similarities[some] = _highest(candidates, names, number)
    found = np.isfinite(similarities)
    return np.where(found, positions, -1), np.where(found, similarities, np.nan).astype(np.float32)


def save_index(path: Path, index: FeatureIndex) -> None:
    """Write the index to one file, atomically."""
    metadata = {
        "study_ids": json.dumps(index.study_ids),
        "subject_ids": json.dumps(index.subject_ids),
        "origin": index.origin,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    features = np.ascontiguousarray(index.features, dtype=np.float16)
    with atomic_file(path) as partial:
        save_file({"features": features}, partial, metadata=metadata)


def load_index(path: Path) -> FeatureIndex:
    """Load the index that `save_index` wrote.

    Raises:
        ValueError: the file is missing, damaged or not an index.
    """
    fix = "create it again, for example with eval.controls.neighbors"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; {fix}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            features = file.get_tensor("features")
        study_ids, subject_ids = (tuple(json.loads(metadata[name])) for name in ("study_ids", "subject_ids"))
    except (SafetensorError, KeyError, json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is damaged or not an index of features ({error}); {fix}") from error
    if features.ndim != 2:
        raise ValueError(f"{path}: features are {features.shape}, not [studies, width]; {fix}")
    try:
        return FeatureIndex(
            features=features, study_ids=study_ids, subject_ids=subject_ids, origin=metadata.get("origin", "")
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {fix}") from error


def _unit(features: np.ndarray) -> np.ndarray:
    """Unit vectors as float32."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _patients(subject_ids: Sequence[str], study_ids: Sequence[str], code_of: dict[str, int]) -> np.ndarray:
    names = [subject or f"study {study}" for subject, study in zip(subject_ids, study_ids, strict=True)]
    return np.array([code_of.setdefault(name, len(code_of)) for name in names], dtype=np.int64)


def _highest(values: np.ndarray, names: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Names and values of the highest entries in each row, in order; ties go to the first."""
    values = values.copy()
    rows = np.arange(len(values))
    best_names, best_values = [], []
    for _ in range(number):
        best = values.argmax(axis=1)
        best_names.append(names[rows, best])
        best_values.append(values[rows, best])
        values[rows, best] = -np.inf
    return np.stack(best_names, axis=1), np.stack(best_values, axis=1)
