"""Pictures as archives hold them, made up: JPEG, PNG and DICOM files of full size with the noise of a detector."""

import csv
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid

from bench.sizes import BenchSizes
from data.synthetic.source import make_study

ARCHIVE_KINDS = {
    "JPEGs": "as fast as Pillow decoding them whole",
    "PNGs": "as fast as Pillow decoding them",
    "DICOM files of 12 bits": "as fast as pydicom reading them and applying their window",
}
NUM_FILES = 4
NOISE = 4.0
"""Standard deviation in gray levels of 8 bits; without it files would be far smaller than real ones."""
_SUFFIX = {"JPEGs": "jpg", "PNGs": "png", "DICOM files of 12 bits": "dcm"}


def write_archive(kind: str, sizes: BenchSizes, folder: Path) -> tuple[Path, list[Path]]:
    """A table of studies with reports, all for training, and the files that its rows name in turn."""
    folder.mkdir()
    studies = [make_study(1, number, sizes.archive_side // 2) for number in range(NUM_FILES)]
    files = [folder / f"{number}.{_SUFFIX[kind]}" for number in range(NUM_FILES)]
    for number, (study, file) in enumerate(zip(studies, files, strict=True)):
        picture = study.images[0].resize((sizes.archive_side, sizes.archive_side), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(number).normal(0, NOISE, (sizes.archive_side, sizes.archive_side))
        _save(np.clip(np.asarray(picture) + noise, 0, 255), file)
    table = folder / "studies.csv"
    with table.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("study_id", "image", "split", "indication", "findings", "impression"))
        for row in range(sizes.num_archive_rows):
            study, file = studies[row % NUM_FILES], files[row % NUM_FILES]
            writer.writerow([row, file.name, "train", study.indication, study.findings, study.impression])
    return table, files


def _save(pixels: np.ndarray, file: Path) -> None:
    if file.suffix != ".dcm":
        Image.fromarray(pixels.astype(np.uint8)).save(file, quality=90)
        return
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, uid.generate_uid()
    header.Modality, header.PhotometricInterpretation, header.SamplesPerPixel = "DX", "MONOCHROME1", 1
    header.Rows, header.Columns = pixels.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.WindowCenter, header.WindowWidth = 2048, 3500
    header.PixelData = (pixels * 16).astype("<u2").tobytes()
    header["PixelData"].VR = "OW"
    header.save_as(file, enforce_file_format=True)
