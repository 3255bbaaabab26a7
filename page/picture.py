"""A visitor's file as a picture for the model: read, and treated as the pictures that the model learned from."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from data.images.dicom import read_dicom
from data.images.dicom_header import check_radiograph
from data.images.dicom_identifiers import DicomIdentifiers, dicom_identifiers
from data.images.pixels import ImageRefused, is_dicom, read_bytes
from data.images.read import read_image
from vlm.schema.preprocessing import Preprocessing, preprocess

VIEW_CHOICES = {"auto": "", "PA": "PA", "AP": "AP", "lateral": "LATERAL"}
"""What a visitor can choose, and the view position it stands for; auto asks the DICOM header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture as the model gets it. `said_position` is what its file says; `warning` is empty unless the file says
    that it is no chest X-ray. `identifiers` are there for DICOM alone, and only for exports to go back to its study."""

    name: str
    image: Image.Image
    view_position: str = "UNKNOWN"
    said_position: str = "UNKNOWN"
    warning: str = ""
    identifiers: DicomIdentifiers | None = field(default=None, repr=False)

    def viewed_as(self, view: str) -> "Picture":
        """The same picture from the view position of that name.

        Raises:
            ValueError: `view` is none of VIEW_CHOICES.
        """
        if view not in VIEW_CHOICES:
            raise ValueError(f"view position {view!r} is not known; choose one of {', '.join(VIEW_CHOICES)}")
        return replace(self, view_position=VIEW_CHOICES[view] or self.said_position)


def read_picture(
    source: Path | bytes, view: str = "auto", preprocessing: Preprocessing | None = None, *, name: str = ""
) -> Picture:
    """The picture of a file or of its bytes; messages call it `name`, by default the file's name without its folder.

    Raises:
        ImageRefused: it cannot be read or is no radiograph; names the file and the reason.
        ValueError: `view` is none of VIEW_CHOICES.
    """
    name = name or ("the picture" if isinstance(source, bytes) else source.name)
    content, said, warning = source if isinstance(source, bytes) else read_bytes(source, name=name), "UNKNOWN", ""
    if is_dicom(content):
        dicom = read_dicom(content, name=name)
        image, said = dicom.image, dicom.view_position
        try:
            check_radiograph(dicom.modality, dicom.body_part, name=name)
        except ImageRefused as error:
            warning = f"{error}."
    else:
        image = read_image(content, name=name)
    picture = Picture(
        name=name,
        image=preprocess(image, preprocessing or Preprocessing()),
        said_position=said,
        warning=warning,
        identifiers=dicom_identifiers(content),
    )
    return picture.viewed_as(view)
