"""Source `kermany` of `data.prepare`: the pneumonia X-rays of Kermany et al. (Cell 2018; Mendeley Data, CC BY 4.0).

    python -m data.prepare kermany --root chest_xray --out runs/kermany

The data set has 5,856 chest X-rays of children, which are normal or show bacterial or viral pneumonia. Each image is a
study. `--root` has one of two layouts:

- as published: folders NORMAL and PNEUMONIA, usually below `train` and `test`, with the patient in the file name
  (`IM-0115-0001.jpeg`, `NORMAL2-IM-0383-0001.jpeg`, `person1_bacteria_2.jpeg`);
- a table `labels.csv` with the columns image, patient and label (one of IMAGE_CLASSES), and the images in `images/`.

The published test folder is the test split; the other patients are split at random into train and validation. Without
a test folder, all patients are split at random. An image is rejected, with the reason, if its label or patient is
unknown, if it cannot be read or occurs twice, or if its patient is also in the test folder.

The X-rays come without text. Reports are composed from the labels, in the language of the synthetic reports
(`data.synthetic.grammar`). They state pneumonia or its absence, its kind if known, and clear lungs for a normal image.
They do not mention laterality, location, severity, heart, pleura or bones, because the labels say nothing about them.

Patients with bacterial and with viral pneumonia are numbered separately: the numbers missing in the train folder are 78
to 252 for bacterial and 1 to 79 for viral pneumonia. So person80_bacteria and person80_virus are two patients.
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
from data.study import fractions_without_test, left_out, split_subjects
from data.synthetic.grammar import frames
from data.synthetic.grammar.sentences import capitalized
from data.tables.rows import read_rows, require_columns
from vlm.schema.findings import BLANK, FINDING_INDEX, NEGATIVE, NUM_FINDINGS, POSITIVE, UNLABELED_STUDY

SOURCE, LICENSE = "kermany", "CC BY 4.0"
VIEW_POSITION = "AP"
"""View of every image: "chest X-ray images (anterior-posterior)" (Kermany et al. 2018)."""

ImageClass = Literal["normal", "bacterial_pneumonia", "viral_pneumonia", "pneumonia"]
"""Label of an image; "pneumonia" is pneumonia of unknown kind."""
IMAGE_CLASSES = get_args(ImageClass)

TABLE, IMAGES = "labels.csv", "images"
_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}
_SPLIT_FOLDERS = {"train": "train", "val": "train", "test": "test"}
"""Published folders. `val` has only 16 images, so they are split again together with `train`."""
_NAMES = {
    "NORMAL": re.compile(r"((?:NORMAL2-)?IM-\d+)(?:-\d+)*"),
    "PNEUMONIA": re.compile(r"(person\d+_(bacteria|virus))(?:_\d+)*"),
}
_KINDS = {"bacteria": "bacterial_pneumonia", "virus": "viral_pneumonia"}
_EXAMPLES = {"NORMAL": "IM-0115-0001.jpeg", "PNEUMONIA": "person1_bacteria_2.jpeg"}
_NUMBER = re.compile(r"person(\d+)")


def labels_of(image_class: ImageClass) -> tuple[int, ...]:
    """The 14 label codes. A normal image denies all findings; with pneumonia, the other findings are not labeled."""
    is_normal = image_class == "normal"
    labels = [NEGATIVE] * NUM_FINDINGS if is_normal else list(UNLABELED_STUDY)
    labels[FINDING_INDEX["Pneumonia"]] = NEGATIVE if is_normal else POSITIVE
    labels[FINDING_INDEX["No Finding"]] = POSITIVE if is_normal else BLANK
    return tuple(labels)


def compose_sections(image_class: ImageClass, study_id: str, seed: int) -> tuple[str, str]:
    """Findings and impression of a study. The study id and the seed choose the wording, the same on every machine."""
    wordings = all_wordings(image_class)
    digest = hashlib.blake2b(f"{seed}:{study_id}".encode(), digest_size=8).digest()
    return wordings[int.from_bytes(digest) % len(wordings)]


@cache
def all_wordings(image_class: ImageClass) -> tuple[tuple[str, str], ...]:
    """Every (findings, impression) for a class. All are equally likely; some occur twice."""
    product = itertools.product
    if image_class == "normal":
        denials = [frame.format(list="pneumonia") for frame in frames.DENYING]
        in_findings = [f"{clear} {denial}" for clear, denial in product(frames.CLEAR_LUNGS, denials)]
        return (*product(in_findings, frames.NORMAL_IMPRESSIONS), *product(frames.CLEAR_LUNGS, denials))
    stated, brief = _stated("pneumonia"), ["Pneumonia."]
    kind = image_class.removesuffix("pneumonia").strip("_")
    if not kind:
        return tuple(product(stated, brief))
    names = (f"{kind} pneumonia", f"pneumonia of {kind} origin")
    stated_kind = [sentence for name in names for sentence in _stated(name)]
    brief_kind = [f"{capitalized(name)}." for name in names]
    # The kind is in the findings, in the impression, or in both.
    return (*product(stated_kind, brief_kind + brief), *product(stated, brief_kind))


def _stated(name: str) -> list[str]:
    words = {"np": name, "bare": name, "Bare": capitalized(name), "is": "is"}
    return [frame.format(**words) for frame in frames.STATED]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledFile:
    """An image with its label and patient, or the `error` why it cannot be used."""

    file: str
    """Path below the folder with all images."""
    study_id: str
    subject_id: str = ""
    image_class: ImageClass = "normal"
    split_folder: str = ""
    """"train" or "test", if the image is in such a folder."""
    error: str = ""

    @property
    def split_group(self) -> str:
        """What may not be divided between splits: the patient or, to be safe, both patients with the same number."""
        match = _NUMBER.match(self.subject_id)
        return match[0] if match else self.subject_id


def read_files(root: Path) -> tuple[Path, list[LabeledFile]]:
    """The folder that file paths start from, and the files in a fixed order.

    Raises:
        ValueError: the folder has neither layout, or its table is damaged.
    """
    if not root.is_dir():
        raise ValueError(f"--root {root} is not a folder; name the one with the pneumonia X-rays")
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
        error = ""
        if not file:
            error = "names no image"
        elif not patient:
            error = "names no patient; without one it cannot be kept out of two splits"
        elif label not in IMAGE_CLASSES:
            error = f"has the label {label!r}, which is none of {', '.join(IMAGE_CLASSES)}"
        error = row.error or (error and f"row {row.number} of {table.name} {error}")
        yield LabeledFile(
            file=file,
            study_id=Path(file).stem or f"row {row.number}",
            subject_id=patient,
            image_class="normal" if error else label,
            error=error,
        )


def _from_folders(root: Path) -> Iterator[LabeledFile]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        path = Path(folder)
        if path.name.upper() in _NAMES:
            split_folder = _SPLIT_FOLDERS.get(path.resolve().parent.name.lower(), "")
            for name in sorted(name for name in names if not name.startswith(".")):
                yield _from_name(path / name, root, path.name.upper(), split_folder)


def _from_name(path: Path, root: Path, kind: str, split_folder: str) -> LabeledFile:
    file, match = str(path.relative_to(root)), _NAMES[kind].fullmatch(path.stem)
    error = ""
    if path.suffix.lower() not in _SUFFIXES:
        error = f"{file} does not have the name of an image ({', '.join(sorted(_SUFFIXES))})"
    elif not match:
        error = f"the name of {file} contains no patient; expected a name like {_EXAMPLES[kind]}"
    return LabeledFile(
        file=file,
        study_id=path.stem,
        subject_id="" if error else match[1],
        image_class="normal" if error or kind == "NORMAL" else _KINDS[match[2]],
        split_folder=split_folder,
        error=error,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class KermanySource:
    """The pneumonia X-rays of Kermany et al., as published or with a table of labels."""

    root: Path
    """Folder with train/ and test/, each with NORMAL/ and PNEUMONIA/; or with labels.csv and images/."""
    reports: bool = True
    """Compose a report from each label. Without reports, the studies can only train the findings."""

    def plan(self, context: PlanContext) -> SourcePlan:
        folder, files = read_files(self.root)
        # Shuffled, because normal images come first in the folder, and users often look at the first studies only.
        files.sort(key=lambda file: hashlib.blake2b(file.study_id.encode()).digest())
        test_subjects = {file.subject_id for file in files if file.split_folder == "test" and not file.error}
        split_of = _split_subjects(files, test_subjects, context)
        raw_studies = (self._raw_study(file, folder, test_subjects, split_of, context.seed) for file in files)
        return SourcePlan(num_studies=len(files), raw_studies=raw_studies, notes=_notes(files, test_subjects))

    def _raw_study(
        self, file: LabeledFile, folder: Path, test_subjects: set[str], split_of: dict[str, str], seed: int
    ) -> RawFileStudy | Rejection:
        is_test = not file.error and file.subject_id in test_subjects
        if reason := file.error or (is_test and left_out(file.subject_id, file.split_folder or "train", "test")):
            return Rejection(study_id=file.study_id, reason=reason, files=(file.file,), split=file.split_folder)
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


def _split_subjects(files: list[LabeledFile], test_subjects: set[str], context: PlanContext) -> dict[str, str]:
    """The split of each patient: test for the published test folder, a random one for the others.

    Raises:
        ValueError: there is a test folder, and --split-fractions has no share for train and validation.
    """
    others = [file for file in files if not file.error and file.subject_id not in test_subjects]
    has_test = test_subjects and others
    fractions = fractions_without_test(context.split_fractions) if has_test else context.split_fractions
    split_of_group = split_subjects((file.split_group for file in others), fractions=fractions, seed=context.seed)
    return {file.subject_id: split_of_group[file.split_group] for file in others} | dict.fromkeys(test_subjects, "test")


def _notes(files: list[LabeledFile], test_subjects: set[str]) -> tuple[str, ...]:
    counts = Counter(file.image_class for file in files if not file.error)
    labels = ", ".join(f"{count} {image_class.replace('_', ' ')}" for image_class, count in sorted(counts.items()))
    patients = len({file.subject_id for file in files if not file.error})
    notes = [f"{labels or 'no images with a label'}, from {patients} patients."]
    if test_subjects:
        notes.append(f"the published test folder is the test split ({len(test_subjects)} patients).")
    return tuple(notes)
