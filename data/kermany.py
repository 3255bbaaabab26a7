r"""The pneumonia X-rays of Kermany et al. (Cell 2018; Mendeley Data, CC BY 4.0) as a source for `data.prepare`, with
reports composed from their labels.

    python -m data.prepare kermany --root chest_xray --out runs/kermany

`--root` is the folder as published (`train/NORMAL/IM-0115-0001.jpeg`, `test/PNEUMONIA/person1_virus_6.jpeg`), or one
with `labels.csv` and `images/` (see `data.kermany_files`). In all 5,856 X-rays of children, normal or with bacterial
or viral pneumonia; each is a study. They come without text: reports are composed in the made-up reports' language and
say what the label says (`data.kermany_report`).

The published test folder is the test split, and the rest is divided into train and validation by patient; where there
is none, all is divided. Refused, each with its reason: a file whose name or row does not tell label and patient, or
that is no picture; a picture given twice; one of a patient who is also in the test folder.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data.draft import FileDraft, Plan, Planning, Refusal
from data.kermany_files import LabeledFile, read_files
from data.kermany_report import compose_sections, labels_of
from data.splits import left_out, split_subjects

SOURCE, LICENSE = "kermany", "CC BY 4.0"
VIEW_POSITION = "AP"
"""Of every picture: "chest X-ray images (anterior-posterior)" (Kermany et al. 2018)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KermanySource:
    """The labelled pneumonia X-rays of Kermany et al., as published or with a table of labels."""

    root: Path
    """Folder with train/ and test/, each with NORMAL/ and PNEUMONIA/; or with labels.csv and images/."""
    reports: bool = True
    """Compose a report from each label. Without them, the studies train the findings alone."""

    def plan(self, planning: Planning) -> Plan:
        folder, files = read_files(self.root)
        # Mixed, for the folder has all normal ones first, and whoever looks at some studies looks at the first.
        files.sort(key=lambda file: hashlib.blake2b(file.study_id.encode()).digest())
        tested = {file.subject_id for file in files if file.part == "test" and not file.fault}
        split_of = _split_subjects(files, tested, planning)
        drafts = (self._draft(file, folder, tested, split_of, planning.seed) for file in files)
        return Plan(num_studies=len(files), drafts=drafts, notes=_notes(files, tested))

    def _draft(
        self, file: LabeledFile, folder: Path, tested: set[str], split_of: dict[str, str], seed: int
    ) -> FileDraft | Refusal:
        fault = file.fault
        if not fault and file.subject_id in tested:
            fault = left_out(file.subject_id, file.part or "train", "test")
        if fault:
            return Refusal(study_id=file.study_id, reason=fault, files=(file.file,), split=file.part)
        findings, impression = compose_sections(file.picture, file.study_id, seed) if self.reports else ("", "")
        return FileDraft(
            study_id=file.study_id,
            subject_id=file.subject_id,
            split=split_of[file.subject_id],
            image_root=folder,
            files=(file.file,),
            view_positions=(VIEW_POSITION,),
            findings=findings,
            impression=impression,
            labels=labels_of(file.picture),
            source=SOURCE,
            license=LICENSE,
        )


def _split_subjects(files: list[LabeledFile], tested: set[str], planning: Planning) -> dict[str, str]:
    """The split of each patient: the published test folder, or a seeded one.

    Raises:
        ValueError: there is a test folder, and no share for train and validation to divide the rest by.
    """
    divided = [file for file in files if not file.fault and file.subject_id not in tested]
    fractions = planning.split_fractions
    if tested and divided:
        train, validation, _ = fractions
        if not train + validation:
            raise ValueError(
                f"the test folder is the test split, and --split-fractions {fractions} has no share for the rest; give "
                "one, for example 0.9 0.1 0"
            )
        fractions = (train / (train + validation), validation / (train + validation), 0.0)
    together = split_subjects((file.kept_together for file in divided), fractions=fractions, seed=planning.seed)
    return {file.subject_id: together[file.kept_together] for file in divided} | dict.fromkeys(tested, "test")


def _notes(files: list[LabeledFile], tested: set[str]) -> tuple[str, ...]:
    counts = Counter(file.picture for file in files if not file.fault)
    labels = ", ".join(f"{count} {picture.replace('_', ' ')}" for picture, count in sorted(counts.items()))
    patients = len({file.subject_id for file in files if not file.fault})
    notes = [f"{labels or 'no pictures with a label'}, of {patients} patients."]
    if tested:
        notes.append(f"the published test folder is the test split ({len(tested)} patients).")
    return tuple(notes)
