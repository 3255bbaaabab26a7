"""Example images to click on: real X-rays of NIH, synthetic studies, and a folder of the user.

The real ones are images of NIH ChestX-ray14 (Wang et al., CVPR 2017), which allows any use with citation. Their
captions give the labels that NIH's labeler read from the reports. They are not in the training data of the shipped
checkpoint.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data.images.pixels import ImageRejected, read_bytes
from data.synthetic.source import make_study
from page.study.upload import VIEW_CHOICES, read_upload

REAL_FOLDER = Path(__file__).parent / "static" / "examples"
REAL_EXAMPLES = {"nih_00020680_000.jpg": "NIH: cardiomegaly, effusion", "nih_00002800_003.jpg": "NIH: no finding"}
SYNTHETIC_SEED, NUM_SYNTHETIC = 20, 6
MAX_FOLDER_EXAMPLES = 24

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A PNG without metadata, and the inputs that are filled in when it is clicked."""

    path: Path
    caption: str
    view: str = "auto"
    indication: str = ""


def real_examples(folder: Path) -> list[Example]:
    """REAL_EXAMPLES, frontal views; copied to `folder`."""
    examples = []
    for name, caption in REAL_EXAMPLES.items():
        path = folder / f"{Path(name).stem}.png"
        with Image.open(REAL_FOLDER / name) as image:
            image.save(path)
        examples.append(Example(path=path, caption=caption, view=_view_choice("PA")))
    return examples


def synthetic_examples(folder: Path) -> list[Example]:
    """NUM_SYNTHETIC fixed studies; their first views are written to `folder`."""
    examples = []
    for index in range(NUM_SYNTHETIC):
        study = make_study(SYNTHETIC_SEED, index)
        path = folder / f"synthetic-{index + 1}.png"
        study.images[0].save(path)
        inputs = {"view": _view_choice(study.view_positions[0]), "indication": study.indication}
        examples.append(Example(path=path, caption=f"synthetic {index + 1}", **inputs))
    return examples


def folder_examples(source: Path, folder: Path) -> list[Example]:
    """The first MAX_FOLDER_EXAMPLES readable images of `source`, copied to `folder`; the others are logged.

    They are copied as PNG, because every user gets them, and DICOM headers must stay private.
    """
    examples = []
    for path in sorted(path for path in source.iterdir() if not path.is_dir()):
        if len(examples) == MAX_FOLDER_EXAMPLES:
            break
        try:
            upload = read_upload(read_bytes(path, name=path.name), path.name)
        except ImageRejected as error:
            logger.warning("left out of the examples: %s", error)
            continue
        copy = folder / f"{path.name}.png"
        upload.image.save(copy)
        examples.append(Example(path=copy, caption=path.stem, view=_view_choice(upload.view_position)))
    return examples


def _view_choice(view_position: str) -> str:
    return next((view for view, position in VIEW_CHOICES.items() if position == view_position), "auto")
