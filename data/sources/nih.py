"""Source `nih` of `data.prepare`: the chest X-rays of adults and children of NIH ChestX-ray14 (Wang et al., CVPR 2017).

    python -m data.prepare nih --root ChestX-ray14 --out runs/nih

Each image is a study: one frontal view, with labels of 14 diseases that NIH's labeler read from a report that is not
public. `--root` holds the images in `images/`, or in `images_001/images/` to `images_012/images/`, and these tables:

- as published: `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`, and optionally `BBox_List_2017.csv`;
- or `labels.csv` with the columns image, patient, age, sex, view_position and finding_labels (separated by "|"), and
  optionally `boxes.csv` with the columns image, label, x, y, w, h and coordinates ("of 1024 x 1024").

If the published `test_list.txt` is in the folder, it is the test split, and the other patients are split at random into
train and validation. Without it, all patients are split at random. An image is rejected, with the reason, if its labels
or patient are unknown, if it is missing or cannot be read, or if its patient is also in the test list.

A label denies only what NIH's labeler looks for:

| finding                               | positive                      | negative         | not labeled  |
|---------------------------------------|-------------------------------|------------------|--------------|
| Atelectasis, Cardiomegaly, Edema,     | the label of this name        | without it       |              |
| Consolidation, Pneumonia,             | ("Effusion" for Pleural       |                  |              |
| Pneumothorax, Pleural Effusion        | Effusion)                     |                  |              |
| Lung Lesion                           | Mass or Nodule                | without both     |              |
| Pleural Other                         | Pleural_Thickening            | without it       |              |
| Lung Opacity                          | Infiltration or Consolidation | "No Finding"     | other images |
| No Finding                            | "No Finding"                  | (blank:) another | see below    |
|                                       |                               | finding positive |              |
| Enlarged Cardiomediastinum, Fracture, |                               |                  | always       |
| Support Devices                       |                               |                  |              |

Pneumonia, atelectasis, edema and masses may or may not be described as opacities, so they leave Lung Opacity open.
Emphysema, Fibrosis and Hernia are none of the 14 findings. An image with no other label is not normal, but counts as
No Finding by CheXpert's rules, so No Finding is not labeled.

Boxes were drawn by radiologists, in pixels of the published 1024 x 1024 images. A box makes its finding positive, also
if the mined labels do not have it.

The X-rays come without text. Reports are composed from the labels, in the language of the synthetic reports
(`data.synthetic.grammar`). They state the labels and deny some of the negative findings. They do not mention
laterality, location, severity, devices, bones or the mediastinum, because the labels say nothing about them.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection, SourcePlan
from data.study import FindingBox, fractions_without_test, left_out, split_subjects
from data.synthetic.grammar.report import write_report
from data.synthetic.scene import Scene, SceneFinding
from data.tables.parse import demographics_of
from data.tables.rows import Row, column_names, find_columns, read_rows
from vlm.schema.demographics import NOTHING_KNOWN, Demographics
from vlm.schema.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNLABELED

SOURCE = "nih"
LICENSE = "NIH Clinical Center: unrestricted use with citation of Wang et al., CVPR 2017"
NO_FINDING = "No Finding"
NIH_LABELS = {
    "Atelectasis": ("Atelectasis", "atelectasis"),
    "Cardiomegaly": ("Cardiomegaly", "enlarged heart"),
    "Effusion": ("Pleural Effusion", "pleural effusion"),
    "Infiltration": ("Lung Opacity", "infiltrate"),
    "Mass": ("Lung Lesion", "mass"),
    "Nodule": ("Lung Lesion", "nodule"),
    "Pneumonia": ("Pneumonia", "pneumonia"),
    "Pneumothorax": ("Pneumothorax", "pneumothorax"),
    "Consolidation": ("Consolidation", "consolidation"),
    "Edema": ("Edema", "edema"),
    "Emphysema": ("Emphysema", "emphysema"),
    "Fibrosis": ("Fibrosis", "fibrosis"),
    "Pleural_Thickening": ("Pleural Other", "pleural thickening"),
    "Hernia": ("Hernia", "hernia"),
}
"""NIH's label -> the finding, and the kind whose words are used in reports. Three of the findings are no CheXpert's."""
_MINED = {finding for finding, _ in NIH_LABELS.values()} & set(FINDINGS) - {"Lung Opacity"}
"""Findings that are absent if NIH does not state them."""

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "labels.csv")
BOX_TABLES = ("BBox_List_2017.csv", "boxes.csv")
TEST_LIST, OTHER_LIST = "test_list.txt", "train_val_list.txt"
VIEW_POSITION = "FRONTAL"
"""View of an image without one: all images are "frontal-view X-ray images" (Wang et al. 2017)."""
BOX_SIDE, BOX_COORDINATES = 1024, "of 1024 x 1024"
"""Boxes are in pixels of images with this width and height; the column coordinates of boxes.csv says so too."""
_COLUMNS = {
    "image": ("Image Index", "image"),
    "labels": ("Finding Labels", "finding_labels"),
    "patient": ("Patient ID", "patient"),
    "age": ("Patient Age", "age"),
    "sex": ("Patient Sex", "Patient Gender", "sex"),
    "view_position": ("View Position", "view_position"),
}
_BOX_COLUMNS = {
    "image": ("Image Index", "image"),
    "label": ("Finding Label", "label"),
    "x": ("Bbox [x", "x"),
    "y": ("y",),
    "w": ("w",),
    "h": ("h]", "h"),
    "coordinates": ("coordinates",),
}
"""The header of the published list is "Bbox [x,y,w,h]", which a CSV splits at its commas."""
_BOX_LABELS = {"Infiltrate": "Infiltration"}
_IMAGE_FOLDER = re.compile(r"images(?:_\d{3})?")


def labels_of(stated: tuple[str, ...]) -> tuple[int, ...]:
    """The 14 label codes of an image with these labels of NIH; none means "No Finding"."""
    codes = dict.fromkeys(_MINED, NEGATIVE) | {NIH_LABELS[label][0]: POSITIVE for label in stated}
    if "Consolidation" in stated:
        codes["Lung Opacity"] = POSITIVE
    if not stated:
        codes |= {"Lung Opacity": NEGATIVE, NO_FINDING: POSITIVE}
    elif any(codes.get(finding) == POSITIVE for finding in FINDINGS):
        codes[NO_FINDING] = BLANK
    return tuple(codes.get(finding, UNLABELED) for finding in FINDINGS)


def compose_sections(stated: tuple[str, ...], study_id: str, seed: int) -> tuple[str, str]:
    """Findings and impression of a study. The study id and the seed choose the wording, the same on every machine."""
    shown = [NIH_LABELS[label] for label in stated]
    if "Consolidation" in stated and "Infiltration" not in stated:
        shown.append(("Lung Opacity", "opacity"))
    scene = Scene(
        findings=tuple(SceneFinding(finding=finding, kind=kind) for finding, kind in shown), view_positions=()
    )
    unknown = frozenset(finding for finding, code in zip(FINDINGS, labels_of(stated), strict=True) if code == UNLABELED)
    digest = hashlib.blake2b(f"{seed}:{study_id}".encode(), digest_size=8).digest()
    report = write_report(scene, np.random.default_rng(int.from_bytes(digest)), unknown=unknown)
    return report.findings, report.impression


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledImage:
    """An image with its labels, or the `error` why it cannot be used."""

    study_id: str
    """The name of the image without its suffix."""
    file: str = ""
    """Path below the root."""
    subject_id: str = ""
    stated: tuple[str, ...] = ()
    """NIH's labels; none means "No Finding"."""
    boxes: tuple[FindingBox, ...] = ()
    view_position: str = VIEW_POSITION
    demographics: Demographics = NOTHING_KNOWN
    is_test: bool = False
    error: str = ""


@dataclass(kw_only=True, slots=True)
class _Root:
    """The files of the root: tables, images, boxes and the test list, which name images without their suffix."""

    table: Path
    columns: dict[str, str]
    files: dict[str, str]
    """Image -> path below the root."""
    boxes: dict[str, list[tuple[str, FindingBox]]]
    test_images: frozenset[str]
    unusable_boxes: list[str]
    unreadable: list[str] = field(default_factory=list)
    """Messages about values of sex and age that count as unknown."""
    num_labels_from_boxes: int = 0

    def read(self) -> list[LabeledImage]:
        images = [self._image(row) for row in read_rows(self.table)]
        for image in sorted(self.boxes.keys() - {image.study_id for image in images}):
            self.unusable_boxes.append(f"{image} is not in {self.table.name}")
        return images

    def _image(self, row: Row) -> LabeledImage:
        cells = {role: str(row.values.get(column) or "").strip() for role, column in self.columns.items()}
        image = LabeledImage(study_id=Path(cells["image"]).stem or f"row {row.number}", error=row.error)
        if row.error:
            return image
        demographics, unreadable = demographics_of(cells)
        self.unreadable += [f"row {row.number}: {message}" for message in unreadable]
        boxes = self.boxes.get(image.study_id, [])
        words = {word.strip() for word in cells["labels"].split("|")}
        error = self._error(cells, words)
        drawn = {label for label, _ in boxes}
        self.num_labels_from_boxes += not error and not drawn <= words
        return LabeledImage(
            study_id=image.study_id,
            file=self.files.get(cells["image"], cells["image"]),
            subject_id=cells["patient"].zfill(8) if cells["patient"].isdigit() else cells["patient"],
            stated=tuple(label for label in NIH_LABELS if label in words | drawn),
            boxes=tuple(box for _, box in boxes),
            view_position=cells.get("view_position", "").upper() or VIEW_POSITION,
            demographics=demographics,
            is_test=image.study_id in self.test_images,
            error=error and f"row {row.number} of {self.table.name} {error}",
        )

    def _error(self, cells: Mapping[str, str], words: set[str]) -> str:
        if not cells["image"]:
            return "names no image"
        if not cells["patient"]:
            return "names no patient; without one it cannot be kept out of two splits"
        if unknown := sorted(words - NIH_LABELS.keys() - {NO_FINDING}):
            return f"has the label {unknown[0]!r}, which is none of {NO_FINDING}, {', '.join(NIH_LABELS)}"
        if NO_FINDING in words and len(words) > 1:
            return f"has the label {NO_FINDING} beside others: {cells['labels']}"
        if cells["image"] not in self.files:
            return f"names {cells['image']}, which is not in images/ or images_*/images/"
        return ""


def open_root(root: Path) -> _Root:
    """The tables and files of the root.

    Raises:
        ValueError: the folder has neither layout, or a table or list is damaged or missing.
    """
    if not root.is_dir():
        raise ValueError(f"--root {root} is not a folder; name the one with the X-rays of NIH")
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    if table is None:
        raise ValueError(f"--root {root} has none of the tables {', '.join(TABLES)}; name the folder that holds one")
    if (root / OTHER_LIST).is_file() and not (root / TEST_LIST).is_file():
        raise ValueError(f"{root} has {OTHER_LIST}, but not {TEST_LIST}, which names the test split; download it too")
    files = {}
    for folder in sorted(path for path in root.iterdir() if _IMAGE_FOLDER.fullmatch(path.name)):
        below = folder if folder.name == "images" else folder / "images"
        files |= {path.name: str(path.relative_to(root)) for path in (below.iterdir() if below.is_dir() else ())}
    if not files:
        raise ValueError(f"{root} has {table.name}, but no images in images/ or images_*/images/")
    boxes, unusable = _read_boxes(root)
    return _Root(
        table=table,
        columns=_find_columns(table, _COLUMNS, needed=("image", "labels", "patient")),
        files=files,
        boxes=boxes,
        test_images=_read_list(root / TEST_LIST),
        unusable_boxes=unusable,
    )


def _find_columns(table: Path, usual: Mapping[str, tuple[str, ...]], *, needed: tuple[str, ...]) -> dict[str, str]:
    available = column_names(table)
    columns = find_columns(table, available, requested={}, usual=usual)
    if missing := [usual[role] for role in needed if role not in columns]:
        raise ValueError(
            f"{table} has no column {' or '.join(map(repr, missing[0]))}; it has {', '.join(available)}; download it "
            "again"
        )
    return columns


def _read_list(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(Path(name).stem for name in path.read_text(encoding="utf-8").split())


def _read_boxes(root: Path) -> tuple[dict[str, list[tuple[str, FindingBox]]], list[str]]:
    """The label and the box of each box of an image, and messages about those that cannot be used."""
    boxes, unusable = defaultdict(list), []
    table = next((root / name for name in BOX_TABLES if (root / name).is_file()), None)
    if table is None:
        return boxes, unusable
    columns = _find_columns(table, _BOX_COLUMNS, needed=("image", "label", "x", "y", "w", "h"))
    for row in read_rows(table):
        try:
            if row.error:
                raise ValueError(row.error)
            image, label, box = _box({role: row.values.get(column) for role, column in columns.items()})
            boxes[image].append((label, box))
        except ValueError as error:
            unusable.append(f"row {row.number} of {table.name}: {error}")
    return boxes, unusable


def _box(cells: Mapping[str, str]) -> tuple[str, str, FindingBox]:
    label = _BOX_LABELS.get(cells["label"], cells["label"])
    finding = NIH_LABELS.get(label, ("",))[0]
    if finding not in FINDING_INDEX:
        raise ValueError(f"its label {label!r} is not a finding that can have a box")
    if cells.get("coordinates", BOX_COORDINATES) != BOX_COORDINATES:
        raise ValueError(f"its coordinates are {cells['coordinates']!r}, not {BOX_COORDINATES!r}")
    left, top, width, height = (float(cells[role]) / BOX_SIDE for role in ("x", "y", "w", "h"))
    box = (left, top, left + width, top + height)
    if not (width > 0 and height > 0 and min(box) >= 0 and max(box) <= 1):
        raise ValueError(f"it is not within the {BOX_SIDE} x {BOX_SIDE} pixels of the image")
    return Path(cells["image"]).stem, label, FindingBox(finding=FINDING_INDEX[finding], view=0, box=box)


@dataclass(frozen=True, kw_only=True, slots=True)
class NihSource:
    """NIH ChestX-ray14, as published or with a table of labels."""

    root: Path
    """Folder with Data_Entry_2017_v2020.csv, Data_Entry_2017.csv or labels.csv, and the images in images/ or
    images_001/images/, …"""
    reports: bool = True
    """Compose a report from the labels. Without reports, the studies can only train the findings."""

    def plan(self, context: PlanContext) -> SourcePlan:
        root = open_root(self.root)
        images = root.read()
        test_subjects = {image.subject_id for image in images if image.is_test and not image.error}
        others = [image.subject_id for image in images if not image.error and image.subject_id not in test_subjects]
        has_test = test_subjects and others
        fractions = fractions_without_test(context.split_fractions) if has_test else context.split_fractions
        split_of = split_subjects(others, fractions=fractions, seed=context.seed)
        split_of |= dict.fromkeys(test_subjects, "test")
        raw_studies = (self._raw_study(image, test_subjects, split_of, context.seed) for image in images)
        return SourcePlan(
            num_studies=len(images), raw_studies=raw_studies, notes=_notes(root, images, len(test_subjects))
        )

    def _raw_study(
        self, image: LabeledImage, test_subjects: set[str], split_of: dict[str, str], seed: int
    ) -> RawFileStudy | Rejection:
        given = "test" if image.is_test else "train"
        if reason := image.error or (image.subject_id in test_subjects and left_out(image.subject_id, given, "test")):
            return Rejection(study_id=image.study_id, reason=reason, files=(image.file,), split=given)
        findings, impression = compose_sections(image.stated, image.study_id, seed) if self.reports else ("", "")
        return RawFileStudy(
            study_id=image.study_id,
            subject_id=image.subject_id,
            split=split_of[image.subject_id],
            image_root=self.root,
            files=(image.file,),
            view_positions=(image.view_position,),
            findings=findings,
            impression=impression,
            labels=labels_of(image.stated),
            boxes=image.boxes,
            demographics=image.demographics,
            source=SOURCE,
            license=LICENSE,
        )


def _notes(root: _Root, images: list[LabeledImage], num_test_subjects: int) -> tuple[str, ...]:
    usable = [image for image in images if not image.error]
    num_normal = sum(not image.stated for image in usable)
    subjects = {image.subject_id for image in usable}
    notes = [f"labels from {root.table.name}: {len(usable)} images of {len(subjects)} patients, {num_normal} normal."]
    if num_test_subjects:
        notes.append(f"{TEST_LIST} is the test split ({num_test_subjects} patients).")
    if num_boxes := sum(len(image.boxes) for image in usable):
        count = root.num_labels_from_boxes
        notes.append(f"{num_boxes} boxes; {count} images have a box of a finding that their labels lack.")
    if ages := root.unreadable:
        notes.append(f"{len(ages)} values of sex or age cannot be read and count as unknown; {ages[0]}.")
    if boxes := root.unusable_boxes:
        notes.append(f"{len(boxes)} boxes cannot be used; {boxes[0]}.")
    return tuple(notes)
