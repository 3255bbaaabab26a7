"""Similar cases: the training studies most similar to a study by image features, with image and report.

    cases = load_similar_cases(checkpoint_folder)        # None if the checkpoint has none
    for case in cases.find(generator.features([images], view_positions=[positions])[0], number=3): …

The features are in the index of `eval.retrieval.index`. Images and reports are in a second safetensors file, and only
the cases that are shown are read. `python -m eval.retrieval.index_cases` writes both files. They contain training data.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from eval.retrieval.index import INDEX_FILE, FeatureIndex, load_index, nearest
from vlm.schema.atomic import atomic_file

CASES_FILE = "similar_cases.safetensors"
"""Name of the file in a checkpoint folder. It is not part of the model."""
MAX_CASE_BYTES = 2**20
_COLUMNS = ("images", "reports")
_FIX = "create it again with python -m eval.retrieval.index_cases"


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarCase:
    """A training study; `similarity` is the cosine similarity to the query."""

    study_id: str
    similarity: float
    report: str
    """"Findings: … Impression: …"; empty if the study has no report."""
    image: bytes = field(repr=False)
    """The first view, small, as WebP."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarCases:
    """The index, and the end offset of each image and report in the file."""

    index: FeatureIndex
    path: Path
    ends: dict[str, np.ndarray]

    def find(self, features: np.ndarray, *, number: int = 3) -> list[SimilarCase]:
        """Find the training studies nearest to the features [width] of one study, nearest first.

        Raises:
            ValueError: the features are from another model, or the file is damaged.
        """
        found, similarities = nearest(self.index, features[None], study_ids=[""], subject_ids=[""], number=number)
        positions = [int(position) for position in found[0] if position >= 0]
        try:
            with safe_open(self.path, framework="numpy") as file:
                parts = {name: [self._part(file, name, position) for position in positions] for name in _COLUMNS}
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged ({error}); {_FIX}") from error
        return [
            SimilarCase(
                study_id=self.index.study_ids[position],
                similarity=float(similarity),
                report=report.decode(),
                image=image,
            )
            for position, similarity, image, report in zip(
                positions, similarities[0], parts["images"], parts["reports"], strict=False
            )
        ]

    def _part(self, file: safe_open, name: str, position: int) -> bytes:
        start, end = (int(self.ends[name][position - 1]) if position else 0), int(self.ends[name][position])
        if not 0 <= end - start <= MAX_CASE_BYTES:
            raise ValueError(f"{name} of study {position} would take {end - start} bytes")
        return file.get_slice(name)[start:end].tobytes()


def save_cases(folder: Path, *, origin: str, images: Sequence[bytes], reports: Sequence[str]) -> None:
    """Write images and reports atomically, in the order of the index with that origin."""
    path = folder / CASES_FILE
    tensors = {}
    for name, parts in zip(_COLUMNS, (images, [report.encode() for report in reports]), strict=True):
        tensors[name] = np.frombuffer(b"".join(parts), dtype=np.uint8)
        tensors[f"{name}_end"] = np.cumsum([len(part) for part in parts], dtype=np.int64)
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata={"origin": origin})


def load_similar_cases(folder: Path) -> SimilarCases | None:
    """Load the cases that `python -m eval.retrieval.index_cases` wrote to a checkpoint folder; None if there are none.

    Raises:
        ValueError: a file is damaged, or the two files do not match.
    """
    path = folder / CASES_FILE
    if not path.is_file():
        return None
    index = load_index(folder / INDEX_FILE)
    try:
        with safe_open(path, framework="numpy") as file:
            origin = (file.metadata() or {}).get("origin")
            ends = {name: file.get_tensor(f"{name}_end") for name in _COLUMNS}
            lengths = {name: file.get_slice(name).get_shape()[0] for name in _COLUMNS}
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or contains no cases ({error}); {_FIX}") from error
    whole = all(len(ends[name]) == len(index.study_ids) for name in _COLUMNS) and all(
        int(ends[name][-1]) == lengths[name] for name in _COLUMNS if len(ends[name])
    )
    if origin != index.origin or not whole:
        raise ValueError(f"{path} does not match {folder / INDEX_FILE}; {_FIX}")
    return SimilarCases(index=index, path=path, ends=ends)
