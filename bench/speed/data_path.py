"""What is measured of the data path: drawing synthetic studies, preparing data sets, loading them for training.

The references are the least that could do the work: drawing alone, or decoding the same images and nothing else.

Images as archives hold them, made up: JPEG, PNG and DICOM files of full size with the noise of a detector.
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
from bench.speed.sizes import START_TOKEN, BenchSizes, geometry, grid
from data import prepare
from data.pipeline.workers import num_cores
from data.study import load_studies
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
"""Standard deviation in gray levels of 8 bits; without it files would be far smaller than real ones."""
_SUFFIX = {"JPEGs": "jpg", "PNGs": "png", "DICOM files of 12 bits": "dcm"}


def write_archive(kind: str, sizes: BenchSizes, folder: Path) -> tuple[Path, list[Path]]:
    """A table of studies with reports, all for training, and the files that its rows name in turn."""
    folder.mkdir()
    studies = [make_study(1, number, sizes.archive_side // 2) for number in range(NUM_FILES)]
    files = [folder / f"{number}.{_SUFFIX[kind]}" for number in range(NUM_FILES)]
    for number, (study, file) in enumerate(zip(studies, files, strict=True)):
        image = study.images[0].resize((sizes.archive_side, sizes.archive_side), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(number).normal(0, NOISE, (sizes.archive_side, sizes.archive_side))
        _save(np.clip(np.asarray(image) + noise, 0, 255), file)
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


DRAWN_PER_SECOND = 50.0
"""Studies of 224 pixels on one core: what the synthetic studies are to reach."""
BATCH_SIZE = 8


def data_tasks(sizes: BenchSizes, folder: Path) -> list[Task]:
    """`folder` is for files that are made on the way."""
    side = sizes.file_side
    tasks = [
        Task(
            name=f"synthetic studies drawn, {sizes.image_size} pixels",
            one_means=f"{DRAWN_PER_SECOND:g} studies a second of one core's time",
            prepare=lambda: (lambda: draw(sizes), DRAWN_PER_SECOND),
            repetitions=sizes.repetitions,
            clock=time.process_time,
        ),
        Task(
            name="synthetic studies prepared, one process",
            one_means="as fast as drawing them and keeping nothing",
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


def prepare_table(table: Path, sizes: BenchSizes, out: Path) -> int:
    run_prepare(["table", str(table), "--num-workers=1"], out)
    return sizes.num_rows


def run_prepare(arguments: list[str], out: Path) -> None:
    """`python -m data.prepare` without what it prints."""
    shutil.rmtree(out, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        prepare.main([*arguments, "--out", str(out)])


def archive_work(kind: str, sizes: BenchSizes, folder: Path) -> tuple[Work, Work]:
    """Images of an archive prepared as studies with reports, and nothing but their decoding."""
    table, files = write_archive(kind, sizes, folder / kind)

    def ours() -> int:
        run_prepare(["table", str(table), "--num-workers=1"], folder / f"{kind}-prepared")
        return sizes.num_archive_rows

    return ours, lambda: decode(islice(cycle(files), sizes.num_archive_rows))


def table_files(sizes: BenchSizes, folder: Path) -> list[Path]:
    """The image of each row of the table."""
    return [folder / f"{row % sizes.num_files}.png" for row in range(sizes.num_rows)]


def write_table(sizes: BenchSizes, folder: Path) -> Path:
    """A table of synthetic frontal studies and their images, all for training; written once."""
    table = folder / "studies.csv"
    if table.exists():
        return table
    columns = ("study_id", "image", "split", "indication", "findings", "impression")
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row, path in enumerate(table_files(sizes, folder)):
            study = make_study(1, row, sizes.file_side if not path.exists() else 64)
            if not path.exists():
                study.images[0].save(path)
            writer.writerow([row, path.name, "train", study.indication, study.findings, study.impression])
    return table


def decode(files: Iterable[Path]) -> int:
    """Pillow, or pydicom with its look-up tables, alone; returns how many images that were."""
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
    """An epoch over the table's studies as train/finetune.py reads them: resized, augmented, tokenised, collated."""
    out = folder / "loaded"
    if not out.exists():
        prepare_table(write_table(sizes, folder), sizes, out)
    rows = load_studies(out)["train"]
    tokenizer = train_tokenizer(rows["findings"], vocab_size=1000)
    studies = StudyDataset(rows, tokenizer, geometry(sizes), max_report_tokens=200, augmentation=augmentation)
    num_epochs = 1
    if in_memory:
        studies.keep_images(2**30)
        num_epochs = 20  # a single one is over before the worker has started
    collator = Collator(geometry=geometry(sizes), grid=grid(sizes), pad_token_id=START_TOKEN)
    numbers = list(range(len(rows))) * num_epochs
    batches = [numbers[start : start + BATCH_SIZE] for start in range(0, len(numbers), BATCH_SIZE)]

    def load() -> int:
        loader = DataLoader(studies, batch_sampler=batches, collate_fn=collator, num_workers=1, prefetch_factor=4)
        return sum(len(batch["input_ids"]) for batch in loader)

    return load
