"""Add an index of training studies to a checkpoint, so that the web page can show similar cases.

    python -m eval.retrieval.index_cases --checkpoint runs/mine/best --dataset studies

The checkpoint then contains small images and reports of these studies: share it only with people who may have them.
Reports are de-identified (`data.reports.deidentify`); images are stored unchanged, except for their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import datasets
import tyro
from PIL import Image
from rich.console import Console

from data.cli import check_minimum, run_main
from data.reports.deidentify import remove_identity
from data.study import load_studies
from eval.predictions.processes import progress, start_processes
from eval.retrieval.features import index_studies
from eval.retrieval.index import INDEX_FILE
from eval.retrieval.similar_cases import CASES_FILE, save_cases
from vlm.checkpoint.store import checkpoint_hash, find_checkpoint
from vlm.generator import ReportGenerator
from vlm.schema.report_format import report_of

IMAGE_SIDE, IMAGE_QUALITY = 256, 80
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexCasesConfig:
    """Let the web page show training studies that are similar to the current study."""

    checkpoint: Path
    """Checkpoint folder. Images and reports of the studies are added to it."""
    dataset: Path
    """Prepared data set; its train split is used."""
    num_studies: int = 5000
    """Maximum number of studies, sampled at random. Each takes 10 to 30 kB."""
    batch_size: int = 16
    """Studies per batch. Memory grows with it."""

    def __post_init__(self):
        check_minimum(self, num_studies=1, batch_size=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the features and write index and cases."""
    config = tyro.cli(IndexCasesConfig, args=argv, description=__doc__)
    studies = load_studies(config.dataset).get("train", ())
    if not len(studies):
        raise ValueError(f"{config.dataset} has no studies in its train split")
    if len(studies) > config.num_studies:
        studies = studies.shuffle(seed=SEED).select(range(config.num_studies))
    folder, processes = find_checkpoint(config.checkpoint), start_processes()
    console = Console(quiet=not processes.is_main_process)
    (folder / CASES_FILE).unlink(missing_ok=True)  # it does not match the new index
    with progress(console) as track:
        index = index_studies(
            ReportGenerator.from_pretrained(folder, device=processes.device),
            studies,
            folder / INDEX_FILE,
            checkpoint=checkpoint_hash(str(folder)),
            batch_size=config.batch_size,
            processes=processes,
            track=track,
        )
    if processes.is_main_process:
        images, reports = _cases(studies, index.study_ids)
        save_cases(folder, origin=index.origin, images=images, reports=reports)
        licenses = ", ".join(sorted(set(studies["license"]) - {""})) or "unknown"
        console.print(
            f"{folder} now contains images and reports of {len(images)} training studies (license: {licenses}). Share "
            f"it only with people who may have them. Delete {INDEX_FILE} and {CASES_FILE} to undo this.",
            highlight=False,
        )


def _cases(studies: datasets.Dataset, study_ids: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Image and report of each study, in order."""
    rows = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    images, reports = [], []
    for study_id in study_ids:
        study = studies[rows[study_id]]
        images.append(_small_image(study["images"][0]))
        report = report_of(study)
        reports.append(remove_identity(report)[0])
    return images, reports


def _small_image(image: Image.Image) -> bytes:
    small = image.convert("L")
    small.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
    content = BytesIO()
    small.save(content, "WEBP", quality=IMAGE_QUALITY)
    return content.getvalue()


if __name__ == "__main__":
    run_main(main)
