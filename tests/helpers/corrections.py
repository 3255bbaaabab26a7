"""Reading the corrections that a test saved."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from data.corrections.correction import SavedCorrection, image_hash, study_hash
from data.corrections.store import list_corrections, open_table, read_correction


def saved_corrections(folder: Path) -> list[SavedCorrection]:
    """All corrections in a folder, oldest first."""
    with open_table(folder) as table:
        return [read_correction(table, summary.number) for summary in list_corrections(table)]


def corrections_of(folder: Path, images: Sequence[Image.Image]) -> list[SavedCorrection]:
    """The corrections of the study with these images, oldest first."""
    study = study_hash(map(image_hash, images))
    return [saved for saved in saved_corrections(folder) if saved.study == study]
