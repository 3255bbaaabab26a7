"""Similar cases to show: from the features of a study to the training studies most like it, with image and report.

    cases = load_similar_cases(checkpoint_folder)        # None where the checkpoint has none
    for case in cases.find(generator.features([images], view_positions=[positions])[0], number=3): …

The features lie in the index of `eval.retrieval.index`; images and reports beside them in one safetensors file, of
which only what is shown is read. `python -m eval.retrieval.index_cases` writes both: they hold training data.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from eval.retrieval.index import INDEX_FILE, FeatureIndex, load_index, nearest

CASES_FILE = "similar_cases.safetensors"
"""Beside the index in a checkpoint folder; no part of the model either."""
MAX_CASE_BYTES = 2**20
_COLUMNS = ("images", "reports")
_MEND = "make it again by python -m eval.retrieval.index_cases"


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarCase:
    """A training study. `similarity` is the cosine of its features and those asked for, at most 1."""

    study_id: str
    similarity: float
    report: str
    """"Findings: … Impression: …"; empty where the study has none."""
    image: bytes = field(repr=False)
    """Its first view, small, as WebP."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarCases:
    """The index, and where in the file each study's image and report end."""

    index: FeatureIndex
    path: Path
    ends: dict[str, np.ndarray]

    def find(self, features: np.ndarray, *, number: int = 3) -> list[SimilarCase]:
        """The training studies nearest to the features [width] of one study, the nearest first.

        Raises:
            ValueError: the features are of another model, or the file was damaged since.
        """
        found = nearest(self.index, features[None], study_ids=[""], subject_ids=[""], number=number)
        positions = [int(position) for position in found.positions[0] if position >= 0]
        try:
            with safe_open(self.path, framework="numpy") as file:
                parts = {name: [self._part(file, name, position) for position in positions] for name in _COLUMNS}
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged ({error}); {_MEND}") from error
        return [
            SimilarCase(
                study_id=self.index.study_ids[position],
                similarity=float(similarity),
                report=report.decode(),
                image=image,
            )
            for position, similarity, image, report in zip(
                positions, found.similarities[0], parts["images"], parts["reports"], strict=False
            )
        ]

    def _part(self, file: safe_open, name: str, position: int) -> bytes:
        start, end = (int(self.ends[name][position - 1]) if position else 0), int(self.ends[name][position])
        if not 0 <= end - start <= MAX_CASE_BYTES:
            raise ValueError(f"{name} of study {position} would take {end - start} bytes")
        return file.get_slice(name)[start:end].tobytes()


def save_cases(folder: Path, *, origin: str, images: Sequence[bytes], reports: Sequence[str]) -> None:
    """Writes images and reports in the order of the index of that origin; either the old file stands or the new."""
    path = folder / CASES_FILE
    tensors = {}
    for name, parts in zip(_COLUMNS, (images, [report.encode() for report in reports]), strict=True):
        tensors[name] = np.frombuffer(b"".join(parts), dtype=np.uint8)
        tensors[f"{name}_end"] = np.cumsum([len(part) for part in parts], dtype=np.int64)
    unfinished = path.with_name(f"{path.name}.unfinished")
    save_file(tensors, unfinished, metadata={"origin": origin})
    unfinished.replace(path)


def load_similar_cases(folder: Path) -> SimilarCases | None:
    """What `python -m eval.retrieval.index_cases` left in the checkpoint folder; None where it did not.

    Raises:
        ValueError: a file is damaged, or the two do not belong together; names it.
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
        raise ValueError(f"{path} is damaged or holds no cases ({error}); {_MEND}") from error
    whole = all(len(ends[name]) == len(index.study_ids) for name in _COLUMNS) and all(
        int(ends[name][-1]) == lengths[name] for name in _COLUMNS if len(ends[name])
    )
    if origin != index.origin or not whole:
        raise ValueError(f"{path} does not belong to {folder / INDEX_FILE}; {_MEND}")
    return SimilarCases(index=index, path=path, ends=ends)
