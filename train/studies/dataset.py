"""From rows of a prepared data set to the tensors of one optimizer step, reproducible for a seed and an epoch.

The studies of each step are planned for a whole epoch, so that a resumed run continues without reading the studies
before. Augmentation is seeded by (seed, epoch, study), so workers have no random state.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from data.study import IMAGE_COLUMNS, without_images
from train.augment import Augmentation, augment, augment_with_boxes
from train.studies.features import ImageFiles, PatchFeatures
from train.studies.stream import ParquetRows, Rows
from vlm.config import ImageGeometry
from vlm.inputs.batch import batch_tokens, batch_views, index_views, of_prior
from vlm.inputs.image import Letterbox, letterbox, letterbox_geometry
from vlm.inputs.tokenizer import encode_prompt, encode_report
from vlm.schema.findings import (
    NUM_FINDINGS,
    POSITIVE,
    UNCERTAIN,
    UNKNOWN_CHANGES,
    UNKNOWN_SEVERITIES,
    UNLABELED,
)
from vlm.schema.report_format import report_of

CHUNK = 1000
STEPS_PER_POOL = 8
"""Steps among which studies are grouped by the length of their reports."""


class StudyDataset(Dataset):
    """Studies as square images and token ids; with `with_priors`, also the prior study of those that have one."""

    def __init__(
        self,
        rows: Rows,
        tokenizer: PreTrainedTokenizerBase,
        geometry: ImageGeometry,
        *,
        max_report_tokens: int,
        augmentation: Augmentation | None = None,
        view_dropout: float = 0.0,
        prior_report_dropout: float = 0.0,
        with_priors: bool = False,
        seed: int = 0,
    ):
        self.with_priors = with_priors and "prior_images" in rows.column_names
        if not self.with_priors:
            rows = rows.remove_columns([name for name in rows.column_names if name == "prior_images"])
        self.rows, self.tokenizer, self.geometry = rows, tokenizer, geometry
        self.columns = [name for name in IMAGE_COLUMNS if name in rows.column_names]
        self.max_report_tokens, self.augmentation = max_report_tokens, augmentation
        self.view_dropout, self.seed = view_dropout, seed
        self.prior_report_dropout = prior_report_dropout
        self.epoch = 0
        self.with_images = self.with_reports = True
        self.squares: dict[str, list[list[tuple[np.ndarray, Letterbox]]]] = {}
        """By image column."""
        self.features: dict[str, PatchFeatures] = {}
        """Saved output of a frozen encoder, by image column; it replaces the pixels, which are then not augmented."""
        self.text_rows = without_images(rows)
        self.image_files = {column: ImageFiles(rows, column) for column in self.columns}

    def __len__(self) -> int:
        return len(self.rows)

    def keep_images(self, max_bytes: int) -> bool:
        """Decode all images once and keep them at the input size, if they fit. Workers share the memory."""
        num_images = sum(map(len, self.rows["view_positions"]))
        if self.with_priors:
            num_images += sum(map(len, self.rows["prior_view_positions"]))
        if num_images * self.geometry.size**2 > max_bytes:
            return False
        with ThreadPoolExecutor() as pool:
            hidden = {"transient": True, "disable": len(self) < 1000}
            for column in self.columns:
                squares = pool.map(partial(self._decode, column=column), range(len(self)))
                self.squares[column] = list(track(squares, description="reading images", total=len(self), **hidden))
        return True

    def _decode(self, index: int, column: str) -> list[tuple[np.ndarray, Letterbox]]:
        """Each view at the model's input size, and the position of the image in it."""
        size = self.geometry.size
        try:
            images = self.image_files[column].images(index)
        except OSError as error:
            study = self.text_rows[index]["study_id"]
            raise ValueError(f"study {study} has an image that cannot be decoded ({error}); leave it out") from error
        return [(letterbox(image, size), letterbox_geometry(image.size, size)) for image in images]

    def _squares(self, index: int, column: str) -> list[tuple[np.ndarray, Letterbox]]:
        return self.squares[column][index] if column in self.squares else self._decode(index, column)

    def _positions(self, index: int) -> list[Letterbox]:
        """The position of each image in the model's input; only the header of its file is read."""
        files = self.image_files["images"][index]
        sizes = [Image.open(BytesIO(file["bytes"]) if file["bytes"] else file["path"]).size for file in files]
        return [letterbox_geometry(size, self.geometry.size) for size in sizes]

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.text_rows[index]
        report = report_of(row) if self.with_reports else ""
        report_ids = [self.tokenizer.bos_token_id]
        if report:
            report_ids = encode_report(self.tokenizer, report, max_tokens=self.max_report_tokens)
        prior_rng = np.random.default_rng((self.seed, self.epoch, index, 1))  # independent of that of the study
        is_report_shown = self.with_priors and prior_rng.random() >= self.prior_report_dropout
        prompt = (row["indication"], row["prior_report"] if is_report_shown else "")
        text = {
            "prompt_ids": encode_prompt(self.tokenizer, *prompt) if self.with_reports else [],
            "report_ids": report_ids,
            "labels": row["labels"],
            "severities": row.get("severities", UNKNOWN_SEVERITIES),
        }
        rng = np.random.default_rng((self.seed, self.epoch, index))
        are_views_hidden = rng.random() < self.view_dropout
        positions = ["UNKNOWN"] * len(row["view_positions"]) if are_views_hidden else row["view_positions"]
        study = text | {"view_positions": positions} | self._views(index, row["boxes"], rng)
        return study | (self._prior(index, row, prior_rng, are_views_hidden) if self.with_priors else {})

    def _views(self, index: int, known_boxes: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
        """Pixels (or patch features) and boxes of each view; without images, only the boxes."""
        needs_pixels = self.with_images and not self.features
        features = {"features": self.features["images"][index]} if self.with_images and not needs_pixels else {}
        if not known_boxes and not needs_pixels:
            return features | {"boxes": []}
        pixels, positions = [], []
        if needs_pixels:
            pixels, positions = [list(parts) for parts in zip(*self._squares(index, "images"), strict=True)]
        else:
            positions = self._positions(index)
        found = [[box["finding"] for box in known_boxes if box["view"] == view] for view in range(len(positions))]
        boxes = [
            _in_square([box["box"] for box in known_boxes if box["view"] == view], position)
            for view, position in enumerate(positions)
        ]
        if needs_pixels and self.augmentation is not None:
            moved = [augment_with_boxes(*view, self.augmentation, rng) for view in zip(pixels, boxes, strict=True)]
            pixels, boxes = [list(parts) for parts in zip(*moved, strict=True)]
        boxes = [list(zip(*view, strict=True)) for view in zip(found, boxes, strict=True)]
        return ({"squares": pixels} if needs_pixels else features) | {"boxes": boxes}

    def _prior(
        self, index: int, row: dict[str, Any], rng: np.random.Generator, are_views_hidden: bool
    ) -> dict[str, Any]:
        """The prior study; it has no views if there is none."""
        positions = row["prior_view_positions"]
        if are_views_hidden:
            positions = ["UNKNOWN"] * len(positions)
        prior = {"prior_view_positions": positions, "changes": row.get("changes", UNKNOWN_CHANGES)}
        if not self.with_images:
            return prior
        if self.features:
            return prior | {"prior_features": self.features["prior_images"][index]}
        pixels = [square for square, _ in self._squares(index, "prior_images")]
        if self.augmentation is not None:
            pixels = [augment(square, self.augmentation, rng) for square in pixels]
        return prior | {"prior_squares": pixels}


def _in_square(boxes: list[list[float]], position: Letterbox) -> np.ndarray:
    """Convert boxes from fractions of the image to pixels of the square: [boxes, 4]."""
    scale, offset = [position.width, position.height] * 2, [position.left, position.top] * 2
    return np.array(boxes, dtype=float).reshape(-1, 4) * scale + offset


class Collator:
    """Combines studies to the arguments of `ReportModel.forward`. Without images, the decoder reads the finding labels
    and the known severities and changes; with `decide_findings`, also beside images."""

    def __init__(
        self,
        *,
        geometry: ImageGeometry,
        grid: tuple[int, int],
        pad_token_id: int,
        uncertain_labels: str = "positive",
        decide_findings: bool = False,
    ):
        self.geometry, self.grid, self.pad_token_id = geometry, grid, pad_token_id
        self.uncertain_labels, self.decide_findings = uncertain_labels, decide_findings

    def __call__(self, studies: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        prompt_ids, prompt_mask = batch_tokens([s["prompt_ids"] for s in studies], pad_token_id=self.pad_token_id)
        input_ids, attention_mask = batch_tokens([s["report_ids"] for s in studies], pad_token_id=self.pad_token_id)
        labels = torch.tensor([study["labels"] for study in studies])
        targets, mask = finding_targets(labels, self.uncertain_labels)
        batch = {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "finding_targets": targets,
            "finding_mask": mask,
            "severity_targets": torch.tensor([study["severities"] for study in studies]),
        }
        batch |= self._views(studies)
        if "squares" not in studies[0] and "features" not in studies[0]:
            batch["finding_condition"] = finding_condition(labels)
        if any(study.get("prior_view_positions") for study in studies):
            batch |= of_prior(self._views(studies, "prior_"))
            batch["change_targets"] = torch.tensor([study["changes"] for study in studies])
        if self.decide_findings and "finding_condition" not in batch:
            decided = finding_condition(labels).masked_fill(labels == UNLABELED, float("nan"))
            batch["decided_findings"] = decided
        return batch | {
            "box_targets": self._box_targets([study["boxes"] for study in studies], batch["view_mask"].shape[1])
        }

    def _views(self, studies: Sequence[dict[str, Any]], of: str = "") -> dict[str, Tensor]:
        """The views of the studies, or with `of` "prior_" of their priors, and their pixels or features."""
        positions = [study[f"{of}view_positions"] for study in studies]
        if f"{of}squares" in studies[0]:
            return batch_views([study[f"{of}squares"] for study in studies], positions, self.geometry)
        views = index_views(positions)
        if f"{of}features" in studies[0]:
            features = [torch.from_numpy(study[f"{of}features"]).float() for study in studies]
            views["patch_features"] = pad_sequence(features, batch_first=True)
        return views

    def _box_targets(self, studies: Sequence[Sequence[list]], num_views: int) -> Tensor:
        """Target attention of each finding over the patches, [batch, findings, views * patches]. The boxes of a finding
        have equal weight, which is uniform within a box. 0 if the finding has no box."""
        box_targets = np.zeros((len(studies), NUM_FINDINGS, num_views, *self.grid), dtype=np.float32)
        patches = [np.arange(number + 1) * self.geometry.size / number for number in self.grid]
        for number, views in enumerate(studies):
            for view, boxes in enumerate(views):
                for finding, (left, top, right, bottom) in boxes:
                    rows = np.diff(patches[0].clip(top, bottom)) if bottom > top else np.zeros(1)
                    columns = np.diff(patches[1].clip(left, right)) if right > left else np.zeros(1)
                    if rows.any() and columns.any():
                        box_targets[number, finding, view] += np.outer(rows / rows.sum(), columns / columns.sum())
        box_targets = box_targets.reshape(*box_targets.shape[:2], -1)
        return torch.from_numpy(box_targets / np.maximum(box_targets.sum(axis=-1, keepdims=True), 1e-6))


def count_truncated(tokenizer: PreTrainedTokenizerBase, reports: Iterable[str], max_report_tokens: int) -> int:
    """Number of reports that are longer than `max_report_tokens`, with the end token."""
    texts = filter(None, reports)
    num_truncated = 0
    while chunk := list(islice(texts, CHUNK)):  # the ids of all reports need much memory
        encoded = tokenizer(chunk, add_special_tokens=False)["input_ids"]
        num_truncated += sum(len(ids) + 1 > max_report_tokens for ids in encoded)
    return num_truncated


def finding_targets(labels: Tensor, uncertain_labels: str) -> tuple[Tensor, Tensor]:
    """Target of each finding (0 or 1; blank is 0), and whether it counts in the loss (-100, not labeled, does not)."""
    mask = labels != UNLABELED
    positive = labels == POSITIVE
    if uncertain_labels == "positive":
        positive |= labels == UNCERTAIN
    elif uncertain_labels == "ignore":
        mask &= labels != UNCERTAIN
    elif uncertain_labels != "negative":
        raise ValueError(f"uncertain_labels must be positive, negative or ignore, got {uncertain_labels!r}")
    return positive.float(), mask


def finding_condition(labels: Tensor) -> Tensor:
    """Input of the decoder for each finding when there is no image: 2 p - 1, as for a classifier's probability p.
    Uncertain labels count as p = 0.65, so that the decoder hedges for similar probabilities; -100 as p = 0.5."""
    condition = torch.full(labels.shape, -1.0)
    return (
        condition.masked_fill(labels == POSITIVE, 1.0)
        .masked_fill(labels == UNCERTAIN, 0.3)
        .masked_fill(labels == UNLABELED, 0.0)
    )


def plan_epoch(
    lengths: Sequence[int],
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    num_batches: int,
    rank: int = 0,
    num_processes: int = 1,
    only_reports: bool = False,
    group_by_length: bool = True,
    stream: ParquetRows | None = None,
) -> list[list[list[int]]]:
    """For each optimizer step of an epoch, the batches (lists of study numbers) of this process.

    All processes have the same number of batches; the last one of a step may hold one study more than `batch_size`.
    Each study (with `only_reports`: each with a length above 0) is in exactly one batch of one process.
    `group_by_length` puts studies with similar lengths together to save padding: the shuffled order is sorted within
    pools of 8 steps, and the steps are shuffled again. Turn it off when no text is read, because a batch of short
    reports is a batch of normal studies.
    With `stream`, the order is one in which its row groups are read, and steps are shuffled within the pools only.
    """
    rng = np.random.default_rng((seed, epoch))
    lengths = np.asarray(lengths)
    kept = lengths > 0 if only_reports else np.ones(len(lengths), dtype=bool)
    if stream is not None:
        order = stream.shuffled(rng, kept=kept, num_parts=num_processes)
    else:
        order = rng.permutation(len(lengths))
        order = order[kept[order]]
    if not len(order):
        return []
    step_size = batch_size * num_batches * num_processes
    if group_by_length:
        for start in range(0, len(order), STEPS_PER_POOL * step_size):
            pool = order[start : start + STEPS_PER_POOL * step_size]
            shares = [pool] if stream is None else [pool[part::num_processes] for part in range(num_processes)]
            for share in shares:
                share[:] = share[np.argsort(lengths[share], kind="stable")]
    steps = [order[start : start + step_size] for start in range(0, len(order), step_size)]
    if len(steps) > 1 and len(steps[-1]) < num_processes:
        steps[-2:] = [np.concatenate(steps[-2:])]
    num_shuffled = len(steps) if stream is None else STEPS_PER_POOL
    for start in range(0, len(steps), num_shuffled):
        together = steps[start : start + num_shuffled]
        rng.shuffle(together)
        steps[start : start + num_shuffled] = together
    plan = []
    for step in steps:
        share = step[rank::num_processes].tolist()
        starts = range(0, max(1, len(step) // num_processes), batch_size)
        batches = [share[start : start + batch_size] for start in starts[:-1]] + [share[starts[-1] :]]
        plan.append([batch for batch in batches if batch])
    return plan
