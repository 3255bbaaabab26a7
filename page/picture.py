"""A visitor's file as a picture for the model: read, and treated as the pictures that the model learned from."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data.dicom import read_dicom
from data.images import is_dicom, read_bytes, read_image
from vlm.preprocess import Preprocessing, preprocess

VIEW_CHOICES = {"auto": "", "PA": "PA", "AP": "AP", "lateral": "LATERAL"}
"""What a visitor can choose, and the view position it stands for; auto asks the DICOM header."""
RADIOGRAPHS = frozenset({"", "CR", "DX", "RG"})
CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "RIB")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture as the model gets it. `warning` is empty unless the file says that it is no chest X-ray."""

    name: str
    image: Image.Image
    view_position: str = "UNKNOWN"
    warning: str = ""


def read_picture(path: Path, view: str = "auto", preprocessing: Preprocessing | None = None) -> Picture:
    """The picture of a file; messages call it by its name alone, not by where it lies.

    Raises:
        ImageRefused: it cannot be read or is no radiograph; names the file and the reason.
        ValueError: `view` is none of VIEW_CHOICES.
    """
    if view not in VIEW_CHOICES:
        raise ValueError(f"view position {view!r} is not known; choose one of {', '.join(VIEW_CHOICES)}")
    content, said, warning = read_bytes(path, name=path.name), "UNKNOWN", ""
    if is_dicom(content):
        dicom = read_dicom(content, name=path.name)
        image, said = dicom.image, dicom.view_position
        is_chest = not dicom.body_part or any(word in dicom.body_part for word in CHEST_WORDS)
        if dicom.modality not in RADIOGRAPHS or not is_chest:
            warning = (
                f"The file says: modality {dicom.modality or 'unknown'}, body part {dicom.body_part or 'unknown'}. "
                "If this is no chest X-ray, the report and the findings mean nothing."
            )
    else:
        image = read_image(content, name=path.name)
    return Picture(
        name=path.name,
        image=preprocess(image, preprocessing or Preprocessing()),
        view_position=VIEW_CHOICES[view] or said,
        warning=warning,
    )
