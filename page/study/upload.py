"""The images of one study from uploaded files: images (PNG, JPEG, WebP, TIFF, DICOM) or a zip of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from data.images.dicom.identifiers import DicomIdentifiers
from data.images.pixels import ImageRejected, read_bytes
from data.images.read import read_apart
from page.study.zip_archive import is_zip, open_zip, read_entry, zip_entries
from vlm.schema.findings import VIEW_KINDS, view_index
from vlm.schema.preprocessing import Preprocessing, preprocess

VIEW_CHOICES = {"auto": "", "PA": "PA", "AP": "AP", "lateral": "LATERAL"}
"""The view positions that a user can choose; auto reads the DICOM header."""
MAX_VIEWS = 6
"""Maximum number of images of one study."""
MAX_ENTRIES = 200
"""Maximum number of entries in the zip of one study, folders and side files included."""
_TOO_MANY = f"more images than the {MAX_VIEWS} that one study may have; upload one study at a time"


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedImage:
    """An image, preprocessed for the model."""

    name: str
    image: Image.Image
    view_position: str = "UNKNOWN"
    header_position: str = "UNKNOWN"
    """View position from the DICOM header."""
    warning: str = ""
    """Set if the DICOM header says that this is not a chest X-ray."""
    notes: tuple[str, ...] = ()
    """What was done to the image because of its header, and damage that was repaired."""
    identifiers: DicomIdentifiers | None = field(default=None, repr=False)
    """Only for DICOM; exports use them to refer to the original study."""

    @property
    def view_text(self) -> str:
        """The kind of view in words."""
        kind = VIEW_KINDS[view_index(self.view_position)]
        return "view position unknown" if kind == "unknown" else kind

    def with_view(self, view: str) -> "UploadedImage":
        """The same image with a view position of VIEW_CHOICES.

        Raises:
            ValueError: `view` is not one of VIEW_CHOICES.
        """
        if view not in VIEW_CHOICES:
            raise ValueError(f"view position {view!r} is not known; choose one of {', '.join(VIEW_CHOICES)}")
        return replace(self, view_position=VIEW_CHOICES[view] or self.header_position)


def read_upload(content: bytes, name: str, preprocessing: Preprocessing | None = None) -> UploadedImage:
    """Decode and preprocess one image file.

    Raises:
        ImageRejected: it cannot be read; gives the name and the reason.
    """
    view, identifiers = read_apart(content, name=name)
    return UploadedImage(
        name=name,
        image=preprocess(view.image, preprocessing or Preprocessing()),
        view_position=view.view_position,
        header_position=view.view_position,
        warning=f"{name}: {view.problem}." if view.problem else "",
        notes=tuple(f"{name}: {note}." for note in view.notes),
        identifiers=identifiers,
    )


def read_study_files(files: Sequence[Path], preprocessing: Preprocessing | None = None) -> list[UploadedImage]:
    """The images of a study in the given order; images in a zip are sorted by name.

    Raises:
        ImageRejected: a file cannot be used, or there are too many; gives the name and the reason.
        ValueError: no file is given.
    """
    if not files:
        raise ValueError("No image yet: choose a file or click an example first.")
    images = []
    for path in files:
        content = read_bytes(path, name=path.name)
        parts = _unpack(content, path.name) if is_zip(content) else [(path.name, content)]
        for name, part in parts:
            if len(images) == MAX_VIEWS:
                raise ImageRejected(f"{path.name}: with this file there are {_TOO_MANY}")
            images.append(read_upload(part, name, preprocessing))
    return images


def _unpack(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in a zip."""
    too_many = f"more than the {MAX_ENTRIES} files that the zip of one study may have; upload only the images"
    with open_zip(BytesIO(content), name=name, max_files=MAX_ENTRIES, too_many=too_many) as archive:
        entries = zip_entries(archive, name=name)
        if len(entries) > MAX_VIEWS:
            raise ImageRejected(f"{name}: holds {len(entries)} files, which are {_TOO_MANY}")
        for entry in entries:
            yield PurePosixPath(entry.filename).name, read_entry(archive, entry, name=name)
