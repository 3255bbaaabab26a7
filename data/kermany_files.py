"""The labelled pneumonia X-rays in a folder, in either of two layouts: every picture with its label, patient and split.

- A table `labels.csv` with the columns image, patient and label (normal, bacterial_pneumonia, viral_pneumonia, or
  pneumonia of no known kind), and the pictures in `images/`.
- As published: folders NORMAL and PNEUMONIA, mostly below `train` and `test`, with file names that tell the patient
  (`IM-0115-0001.jpeg`, `NORMAL2-IM-0383-0001.jpeg`, `person1_bacteria_2.jpeg`).

The published numbers of bacterial and viral pneumonia are two series: what the train folder lacks is 78 to 252 of the
bacterial and 1 to 79 of the viral. So person80_bacteria and person80_virus are two patients.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.kermany_report import PICTURES, Picture
from data.table_rows import read_rows, require_columns

TABLE, IMAGES = "labels.csv", "images"
_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}
_PARTS = {"train": "train", "val": "train", "test": "test"}
"""Published folders: of `val` there are but 16 pictures, which count to those that are divided by patient."""
_NAMES = {
    "NORMAL": re.compile(r"((?:NORMAL2-)?IM-\d+)(?:-\d+)*"),
    "PNEUMONIA": re.compile(r"(person\d+_(bacteria|virus))(?:_\d+)*"),
}
_KINDS = {"bacteria": "bacterial_pneumonia", "virus": "viral_pneumonia"}
_EXAMPLES = {"NORMAL": "IM-0115-0001.jpeg", "PNEUMONIA": "person1_bacteria_2.jpeg"}
_NUMBER = re.compile(r"person(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledFile:
    """A picture as the folder has it. `part` is train or test where the folder says so, else ""; `fault` tells why it
    cannot be used."""

    file: str
    """From the folder that holds all pictures."""
    study_id: str
    subject_id: str = ""
    picture: Picture = "normal"
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
            raise ValueError(f"{root} has {TABLE}, but no folder {IMAGES} with its pictures")
        return root / IMAGES, list(_from_table(root / TABLE))
    files = list(_from_folders(root))
    if not files:
        raise ValueError(
            f"--root {root} has neither {TABLE} with {IMAGES}/ nor pictures in folders {' and '.join(_NAMES)}; name "
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
        elif not fault and label not in PICTURES:
            fault = f"row {row.number} of {table.name} has the label {label!r}, which is none of {', '.join(PICTURES)}"
        study_id = Path(file).stem or f"row {row.number}"
        yield LabeledFile(
            file=file, study_id=study_id, subject_id=patient, picture="normal" if fault else label, fault=fault
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
        fault = f"{file} is no picture by its name ({', '.join(sorted(_SUFFIXES))})"
    elif not match:
        fault = f"the name of {file} tells no patient; expected one like {_EXAMPLES[kind]}"
    else:
        picture = "normal" if kind == "NORMAL" else _KINDS[match[2]]
        return LabeledFile(file=file, study_id=path.stem, subject_id=match[1], picture=picture, part=part)
    return LabeledFile(file=file, study_id=path.stem, part=part, fault=fault)
