"""The pneumonia X-rays of Kermany et al. (Cell 2018; Mendeley Data, CC BY 4.0) as a source for `data.prepare`, with
reports composed from their labels.

    python -m data.prepare kermany --root chest_xray --out runs/kermany

`--root` is the folder as published (`train/NORMAL/IM-0115-0001.jpeg`, `test/PNEUMONIA/person1_virus_6.jpeg`), or one
with `labels.csv` and `images/` (see `data.sources.kermany`). In all 5,856 X-rays of children, normal or with bacterial
or viral pneumonia; each is a study. They come without text: reports are composed in the synthetic reports' language and
say what the label says (`data.sources.kermany`).

The published test folder is the test split, and the rest is divided into train and validation by patient; where there
is none, all is divided. Rejected, each with its reason: a file whose name or row does not tell label and patient, or
that is no image; an image given twice; one of a patient who is also in the test folder.

Composes a report for a labelled pneumonia X-ray, in the language of the synthetic reports
(`data.synthetic.grammar.report`).

A report says what the label says and no more: a normal image has clear lungs and no pneumonia, an ill one has
pneumonia, with its kind where that is known. Side, zone, degree, heart, pleura and bones, of which the label tells
nothing, are left out; "the lungs are clear" denies no other finding by name.

The labelled pneumonia X-rays in a folder, in either of two layouts: every image with its label, patient and split.

- A table `labels.csv` with the columns image, patient and label (normal, bacterial_pneumonia, viral_pneumonia, or
  pneumonia of no known kind), and the images in `images/`.
- As published: folders NORMAL and PNEUMONIA, mostly below `train` and `test`, with file names that tell the patient
  (`IM-0115-0001.jpeg`, `NORMAL2-IM-0383-0001.jpeg`, `person1_bacteria_2.jpeg`).

The published numbers of bacterial and viral pneumonia are two series: what the train folder lacks is 78 to 252 of the
bacterial and 1 to 79 of the viral. So person80_bacteria and person80_virus are two patients.
"""

import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection, SourcePlan
from data.study import left_out, split_subjects
from data.synthetic.grammar import frames
from data.synthetic.grammar.sentences import capitalized
from data.tables.rows import read_rows, require_columns
from vlm.schema.findings import BLANK, FINDING_INDEX, NEGATIVE, POSITIVE, UNLABELED_STUDY

ImageClass = Literal["normal", "bacterial_pneumonia", "viral_pneumonia", "pneumonia"]
"""What an image is labelled as; the last where nobody says which kind."""
IMAGE_CLASSES = get_args(ImageClass)

_FINDING_NAMES = ("{kind} pneumonia", "pneumonia of {kind} origin")


def labels_of(image_class: ImageClass) -> tuple[int, ...]:
    """The 14 codes: Pneumonia and No Finding as the grammar codes them; nobody looked for the others."""
    labels = list(UNLABELED_STUDY)
    is_normal = image_class == "normal"
    labels[FINDING_INDEX["Pneumonia"]] = NEGATIVE if is_normal else POSITIVE
    labels[FINDING_INDEX["No Finding"]] = POSITIVE if is_normal else BLANK
    return tuple(labels)


def compose_sections(image_class: ImageClass, study_id: str, seed: int) -> tuple[str, str]:
    """Findings and impression; study and seed choose the wording, on every machine the same."""
    wordings = all_wordings(image_class)
    drawn = hashlib.blake2b(f"{seed}:{study_id}".encode(), digest_size=8).digest()
    return wordings[int.from_bytes(drawn) % len(wordings)]


@cache
def all_wordings(image_class: ImageClass) -> tuple[tuple[str, str], ...]:
    """Every (findings, impression) that an image may get; all are equally likely, and some stand there twice."""
    return tuple(_normal() if image_class == "normal" else _pneumonia(image_class.removesuffix("pneumonia").strip("_")))


def _normal() -> list[tuple[str, str]]:
    denials = [frame.format(list="pneumonia") for frame in frames.DENYING]
    in_findings = [f"{clear} {denial}" for clear, denial in itertools.product(frames.CLEAR_LUNGS, denials)]
    return [
        *itertools.product(in_findings, frames.NORMAL_IMPRESSIONS),
        *itertools.product(frames.CLEAR_LUNGS, denials),
    ]


def _pneumonia(kind: str) -> list[tuple[str, str]]:
    """The kind stands in the findings, in the impression, or in both."""
    stated, brief = _stated("pneumonia"), _brief("pneumonia")
    if not kind:
        return [*itertools.product(stated, brief)]
    names = [name.format(kind=kind) for name in _FINDING_NAMES]
    stated_kind = [sentence for name in names for sentence in _stated(name)]
    brief_kind = [sentence for name in names for sentence in _brief(name)]
    return [
        *itertools.product(stated_kind, brief_kind + brief),
        *itertools.product(stated, brief_kind),
    ]


def _stated(name: str) -> list[str]:
    words = {"np": name, "bare": name, "Bare": capitalized(name), "is": "is"}
    return [frame.format(**words) for frame in frames.STATED]


def _brief(name: str) -> list[str]:
    return [f"{capitalized(name)}."]


TABLE, IMAGES = "labels.csv", "images"
_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}
_PARTS = {"train": "train", "val": "train", "test": "test"}
"""Published folders: of `val` there are but 16 images, which count to those that are divided by patient."""
_NAMES = {
    "NORMAL": re.compile(r"((?:NORMAL2-)?IM-\d+)(?:-\d+)*"),
    "PNEUMONIA": re.compile(r"(person\d+_(bacteria|virus))(?:_\d+)*"),
}
_KINDS = {"bacteria": "bacterial_pneumonia", "virus": "viral_pneumonia"}
_EXAMPLES = {"NORMAL": "IM-0115-0001.jpeg", "PNEUMONIA": "person1_bacteria_2.jpeg"}
_NUMBER = re.compile(r"person(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledFile:
    """An image as the folder has it. `part` is train or test where the folder says so, else ""; `fault` tells why it
    cannot be used."""

    file: str
    """From the folder that holds all images."""
    study_id: str
    subject_id: str = ""
    image_class: ImageClass = "normal"
    part: str = ""
    fault: str = ""

    @property
    def kept_together(self) -> str:
        """What is divided into splits as one: the patient; and to be safe, both patients of one published number."""
        match = _NUMBER.match(self.subject_id)
        return match[0] if match else self.subject_id


def read_files(root: Path) -> tuple[Path, list[LabeledFile]]:
    """The folder that the files' paths start from, and the files in a fixed order.

    Raises:
        ValueError: the folder is in neither layout, or its table is damaged.
    """
    if not root.is_dir():
        raise ValueError(f"--root {root} is no folder; name the one with the pneumonia X-rays")
    if (root / TABLE).is_file():
        if not (root / IMAGES).is_dir():
            raise ValueError(f"{root} has {TABLE}, but no folder {IMAGES} with its images")
        return root / IMAGES, list(_from_table(root / TABLE))
    files = list(_from_folders(root))
    if not files:
        raise ValueError(
            f"--root {root} has neither {TABLE} with {IMAGES}/ nor images in folders {' and '.join(_NAMES)}; name "
            "the folder that holds them (chest_xray, as published)"
        )
    return root, files


def _from_table(table: Path) -> Iterator[LabeledFile]:
    needed = ("image", "patient", "label")
    require_columns(table, needed)
    for row in read_rows(table):
        file, patient, label = (str(row.values.get(name) or "").strip() for name in needed)
        fault = row.fault
        if not fault and not file:
            fault = f"row {row.number} of {table.name} names no image"
        elif not fault and not patient:
            fault = (
                f"row {row.number} of {table.name} names no patient; without one it cannot be kept out of two splits"
            )
        elif not fault and label not in IMAGE_CLASSES:
            fault = (
                f"row {row.number} of {table.name} has the label {label!r}, which is none of {', '.join(IMAGE_CLASSES)}"
            )
        study_id = Path(file).stem or f"row {row.number}"
        yield LabeledFile(
            file=file, study_id=study_id, subject_id=patient, image_class="normal" if fault else label, fault=fault
        )


def _from_folders(root: Path) -> Iterator[LabeledFile]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        path = Path(folder)
        kind = path.name.upper()
        if kind in _NAMES:
            part = _PARTS.get(path.resolve().parent.name.lower(), "")
            for name in sorted(name for name in names if not name.startswith(".")):
                yield _from_name(path / name, root, kind, part)


def _from_name(path: Path, root: Path, kind: str, part: str) -> LabeledFile:
    file, match = str(path.relative_to(root)), _NAMES[kind].fullmatch(path.stem)
    if path.suffix.lower() not in _SUFFIXES:
        fault = f"{file} is no image by its name ({', '.join(sorted(_SUFFIXES))})"
    elif not match:
        fault = f"the name of {file} tells no patient; expected one like {_EXAMPLES[kind]}"
    else:
        image_class = "normal" if kind == "NORMAL" else _KINDS[match[2]]
        return LabeledFile(file=file, study_id=path.stem, subject_id=match[1], image_class=image_class, part=part)
    return LabeledFile(file=file, study_id=path.stem, part=part, fault=fault)


SOURCE, LICENSE = "kermany", "CC BY 4.0"
VIEW_POSITION = "AP"
"""Of every image: "chest X-ray images (anterior-posterior)" (Kermany et al. 2018)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KermanySource:
    """The labelled pneumonia X-rays of Kermany et al., as published or with a table of labels."""

    root: Path
    """Folder with train/ and test/, each with NORMAL/ and PNEUMONIA/; or with labels.csv and images/."""
    reports: bool = True
    """Compose a report from each label. Without them, the studies train the findings alone."""

    def plan(self, context: PlanContext) -> SourcePlan:
        folder, files = read_files(self.root)
        # Mixed, for the folder has all normal ones first, and whoever looks at some studies looks at the first.
        files.sort(key=lambda file: hashlib.blake2b(file.study_id.encode()).digest())
        tested = {file.subject_id for file in files if file.part == "test" and not file.fault}
        split_of = _split_subjects(files, tested, context)
        raw_studies = (self._raw_study(file, folder, tested, split_of, context.seed) for file in files)
        return SourcePlan(num_studies=len(files), raw_studies=raw_studies, notes=_notes(files, tested))

    def _raw_study(
        self, file: LabeledFile, folder: Path, tested: set[str], split_of: dict[str, str], seed: int
    ) -> RawFileStudy | Rejection:
        fault = file.fault
        if not fault and file.subject_id in tested:
            fault = left_out(file.subject_id, file.part or "train", "test")
        if fault:
            return Rejection(study_id=file.study_id, reason=fault, files=(file.file,), split=file.part)
        findings, impression = compose_sections(file.image_class, file.study_id, seed) if self.reports else ("", "")
        return RawFileStudy(
            study_id=file.study_id,
            subject_id=file.subject_id,
            split=split_of[file.subject_id],
            image_root=folder,
            files=(file.file,),
            view_positions=(VIEW_POSITION,),
            findings=findings,
            impression=impression,
            labels=labels_of(file.image_class),
            source=SOURCE,
            license=LICENSE,
        )


def _split_subjects(files: list[LabeledFile], tested: set[str], context: PlanContext) -> dict[str, str]:
    """The split of each patient: the published test folder, or a seeded one.

    Raises:
        ValueError: there is a test folder, and no share for train and validation to divide the rest by.
    """
    divided = [file for file in files if not file.fault and file.subject_id not in tested]
    fractions = context.split_fractions
    if tested and divided:
        train, validation, _ = fractions
        if not train + validation:
            raise ValueError(
                f"the test folder is the test split, and --split-fractions {fractions} has no share for the rest; give "
                "one, for example 0.9 0.1 0"
            )
        fractions = (train / (train + validation), validation / (train + validation), 0.0)
    together = split_subjects((file.kept_together for file in divided), fractions=fractions, seed=context.seed)
    return {file.subject_id: together[file.kept_together] for file in divided} | dict.fromkeys(tested, "test")


def _notes(files: list[LabeledFile], tested: set[str]) -> tuple[str, ...]:
    counts = Counter(file.image_class for file in files if not file.fault)
    labels = ", ".join(f"{count} {image_class.replace('_', ' ')}" for image_class, count in sorted(counts.items()))
    patients = len({file.subject_id for file in files if not file.fault})
    notes = [f"{labels or 'no images with a label'}, of {patients} patients."]
    if tested:
        notes.append(f"the published test folder is the test split ({len(tested)} patients).")
    return tuple(notes)
