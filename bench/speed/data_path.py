"""Measurements of the data path: draw synthetic studies, prepare data sets, load them for training.

The references are the minimum for the work: drawing alone, or decoding the same images alone. Synthetic archives have
JPEG, PNG and DICOM files of full size with detector noise.
"""

import contextlib
import csv
import io
import shutil
import time
from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from torch.utils.data import DataLoader

from bench.speed.compare import Task, Work
from bench.speed.inputs import geometry, grid
from bench.speed.sizes import START_TOKEN, BenchSizes
from data import prepare
from data.pipeline.workers import num_cores
from data.study import Study, load_studies
from data.synthetic.source import make_study
from train.augment import Augmentation
from train.studies.dataset import Collator, StudyDataset
from vlm.inputs.tokenizer import train_tokenizer

ARCHIVE_KINDS = {
    "JPEGs": "as fast as Pillow decoding them whole",
    "PNGs": "as fast as Pillow decoding them",
    "DICOM files of 12 bits": "as fast as pydicom reading them and applying their window",
}
NUM_FILES = 4
NOISE = 4.0
"""Standard deviation in 8-bit gray levels; without noise, files would be much smaller than real ones."""
_SUFFIX = {"JPEGs": "jpg", "PNGs": "png", "DICOM files of 12 bits": "dcm"}


def write_archive(kind: str, sizes: BenchSizes, folder: Path) -> tuple[Path, list[Path]]:
    """Write a table of training studies with reports, and the image files that its rows use in turn."""
    folder.mkdir()
    studies = [make_study(1, number, sizes.archive_side // 2) for number in range(NUM_FILES)]
    files = [folder / f"{number}.{_SUFFIX[kind]}" for number in range(NUM_FILES)]
    for number, (study, file) in enumerate(zip(studies, files, strict=True)):
        image = study.images[0].resize((sizes.archive_side, sizes.archive_side), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(number).normal(0, NOISE, (sizes.archive_side, sizes.archive_side))
        _save(np.clip(np.asarray(image) + noise, 0, 255), file)
    pairs = islice(cycle(zip(studies, files, strict=True)), sizes.num_archive_rows)
    return save_table(folder / "studies.csv", pairs), files


def save_table(table: Path, rows: Iterable[tuple[Study, Path]]) -> Path:
    """Write a table of training studies and their images."""
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("study_id", "image", "split", "indication", "findings", "impression"))
        for number, (study, path) in enumerate(rows):
            writer.writerow([number, path.name, "train", study.indication, study.findings, study.impression])
    return table


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


DRAWN_PER_SECOND = 50.0
"""Target for synthetic studies of 224 pixels on one core."""
BATCH_SIZE = 8


def data_tasks(sizes: BenchSizes, folder: Path) -> list[Task]:
    """All measurements; `folder` is for temporary files."""
    side = sizes.file_side
    tasks = [
        Task(
            name=f"synthetic studies drawn, {sizes.image_size} pixels",
            one_means=f"{DRAWN_PER_SECOND:g} studies per second on one core",
            prepare=lambda: (lambda: draw(sizes), DRAWN_PER_SECOND),
            repetitions=sizes.repetitions,
            clock=time.process_time,
        ),
        Task(
            name="synthetic studies prepared, one process",
            one_means="as fast as drawing them without saving",
            prepare=lambda: (lambda: prepare_synthetic(sizes, folder, num_workers=1), lambda: draw(sizes)),
            repetitions=sizes.many_repetitions,
        ),
    ]
    tasks += [
        Task(
            name=f"{sizes.archive_side} pixel {kind} prepared, one process",
            one_means=one_means,
            prepare=lambda kind=kind: archive_work(kind, sizes, folder),
            repetitions=sizes.many_repetitions,
            clock=time.process_time,
        )
        for kind, one_means in ARCHIVE_KINDS.items()
    ]
    if num_cores() > 1:
        tasks.append(
            Task(
                name=f"synthetic studies prepared, {num_cores()} processes",
                one_means="as fast as with one process",
                prepare=lambda: (
                    lambda: prepare_synthetic(sizes, folder, num_workers=num_cores()),
                    lambda: prepare_synthetic(sizes, folder, num_workers=1),
                ),
                repetitions=sizes.many_repetitions,
            )
        )
    loading = {
        "loaded": {},
        "loaded and augmented": {"augmentation": Augmentation()},
        "augmented from memory": {"augmentation": Augmentation(), "in_memory": True},
    }
    return tasks + [
        Task(
            name=f"{side} pixel studies {name}, one worker",
            one_means="as fast as Pillow decoding them",
            prepare=lambda options=options: (
                loading_of(sizes, folder, **options),
                lambda: decode(table_files(sizes, folder)),
            ),
            repetitions=sizes.many_repetitions,
        )
        for name, options in loading.items()
    ]


def draw(sizes: BenchSizes) -> int:
    for number in range(sizes.num_synthetic):
        make_study(0, number, sizes.image_size)
    return sizes.num_synthetic


def prepare_synthetic(sizes: BenchSizes, folder: Path, *, num_workers: int) -> int:
    source = ["synthetic", f"--num-studies={sizes.num_synthetic}", f"--size={sizes.image_size}"]
    run_prepare([*source, f"--num-workers={num_workers}"], folder / "synthetic")
    return sizes.num_synthetic


def run_prepare(arguments: list[str], out: Path) -> None:
    """Run `python -m data.prepare` without its output."""
    shutil.rmtree(out, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        prepare.main([*arguments, "--out", str(out)])


def archive_work(kind: str, sizes: BenchSizes, folder: Path) -> tuple[Work, Work]:
    """Preparation of an archive, and decoding of its images alone."""
    table, files = write_archive(kind, sizes, folder / kind)

    def ours() -> int:
        run_prepare(["table", str(table), "--num-workers=1"], folder / f"{kind}-prepared")
        return sizes.num_archive_rows

    return ours, lambda: decode(islice(cycle(files), sizes.num_archive_rows))


def table_files(sizes: BenchSizes, folder: Path) -> list[Path]:
    """The image of each row of the table."""
    return [folder / f"{row % sizes.num_files}.png" for row in range(sizes.num_rows)]


def write_table(sizes: BenchSizes, folder: Path) -> Path:
    """Write a table of synthetic frontal training studies and their images, once."""
    table, rows = folder / "studies.csv", []
    if table.exists():
        return table
    for number, path in enumerate(table_files(sizes, folder)):
        study = make_study(1, number, sizes.file_side if not path.exists() else 64)
        if not path.exists():
            study.images[0].save(path)
        rows.append((study, path))
    return save_table(table, rows)


def decode(files: Iterable[Path]) -> int:
    """Decode with Pillow, or with pydicom and its look-up tables; return the number of images."""
    num_images = 0
    for file in files:
        if file.suffix == ".dcm":
            header = pydicom.dcmread(file)
            apply_voi_lut(apply_modality_lut(header.pixel_array, header), header)
        else:
            with Image.open(file) as image:
                image.load()
        num_images += 1
    return num_images


def loading_of(
    sizes: BenchSizes, folder: Path, *, augmentation: Augmentation | None = None, in_memory: bool = False
) -> Work:
    """An epoch as in train/finetune.py: images are resized and augmented, texts tokenized, batches collated."""
    out = folder / "loaded"
    if not out.exists():
        run_prepare(["table", str(write_table(sizes, folder)), "--num-workers=1"], out)
    rows = load_studies(out)["train"]
    tokenizer = train_tokenizer(rows["findings"], vocab_size=1000)
    studies = StudyDataset(rows, tokenizer, geometry(sizes), max_report_tokens=200, augmentation=augmentation)
    num_epochs = 5  # so that the start of the worker counts little, as in a real epoch
    if in_memory:
        studies.keep_images(2**30)
        num_epochs = 20
    collator = Collator(geometry=geometry(sizes), grid=grid(sizes), pad_token_id=START_TOKEN)
    numbers = list(range(len(rows))) * num_epochs
    batches = [numbers[start : start + BATCH_SIZE] for start in range(0, len(numbers), BATCH_SIZE)]

    def load() -> int:
        loader = DataLoader(studies, batch_sampler=batches, collate_fn=collator, num_workers=1, prefetch_factor=4)
        return sum(len(batch["input_ids"]) for batch in loader)

    return load
