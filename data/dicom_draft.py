"""A study of DICOM files, still to be read: its good pictures make the study, the others are listed as left out."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data.draft import FileStudy, ImageOptions, Refusal
from data.images import ImageRefused
from data.table_entry import MAX_VIEWS
from data.view import View, read_view


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFile:
    """`label` is what the file is called wherever somebody may read it; `fault` says why it cannot be used."""

    path: Path
    label: str
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomDraft:
    """A study whose pictures lie in several DICOM files; ids are pseudonyms."""

    study_id: str
    subject_id: str
    split: str
    dicom_files: tuple[DicomFile, ...]
    indication: str = ""
    findings: str = ""
    impression: str = ""
    source: str = ""
    license: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(file.label for file in self.dicom_files)

    def study(self, options: ImageOptions) -> FileStudy:
        views: list[View] = []
        refused: list[Refusal] = []
        for file in self.dicom_files:
            try:
                if file.fault:
                    raise ImageRefused(f"{file.label}: {file.fault}")
                if len(views) == MAX_VIEWS:
                    raise ImageRefused(f"{file.label}: is one of more than {MAX_VIEWS} pictures of the study")
                views.append(read_view(file.path, max_side=options.max_side, name=file.label))
            except ImageRefused as error:
                refused.append(
                    Refusal(study_id=self.study_id, split=self.split, reason=str(error), files=(file.label,))
                )
        if not views:
            raise ValueError(_reasons(refused))
        return FileStudy(
            study_id=self.study_id,
            subject_id=self.subject_id,
            images=tuple(view.image for view in views),
            view_positions=tuple(view.view_position for view in views),
            indication=self.indication,
            findings=self.findings,
            impression=self.impression,
            source=self.source,
            license=self.license,
            views=tuple(views),
            refused_images=tuple(refused),
        )


def _reasons(refused: list[Refusal]) -> str:
    """Each different reason once, with how many files it holds for."""
    reasons = Counter(refusal.reason.removeprefix(f"{refusal.files[0]}: ") for refusal in refused)
    if len(refused) == 1:
        return refused[0].reason
    return "; ".join(f"{count} files: {reason}" for reason, count in reasons.items())
