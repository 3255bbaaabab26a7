"""Simulated studies for measurements of many: a table with small images and synthetic reports, and predicted reports.

Scenes and reports are those of the synthetic studies. Images are random gray fields of IMAGE_SIDE pixels, because
drawing a phantom takes longer than all that is measured. Half of the predictions are another report of the same scene,
the others are reports of other scenes.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

from data.synthetic.grammar.report import WrittenReport, write_report
from data.synthetic.scene import Scene, sample_scene
from data.synthetic.source import generators, study_id, subject_id
from eval.predictions.prediction import Prediction, write_lines
from vlm.schema.findings import POSITIVE, UNCERTAIN
from vlm.schema.report_format import compose_report

SEED = 17
IMAGE_SIDE = 64
FIELD_SIDE = 8
"""Side of the random field that is enlarged to an image."""


def write_studies(folder: Path, num_studies: int) -> Path:
    """Write the images, and a table with their reports and patients; return the table."""
    images, table = folder / "images", folder / "studies.csv"
    images.mkdir(parents=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("study_id", "subject_id", "image", "indication", "findings", "impression"))
        for number in range(num_studies):
            _, _, written = _study(number)
            name = f"{number}.png"
            cv2.imwrite(str(images / name), _image(number))
            texts = (written.indication, written.findings, written.impression)
            rows.writerow((study_id(SEED, number), subject_id(SEED, number), name, *texts))
    return table


def write_predictions(path: Path, num_studies: int) -> None:
    """Write predictions with references, labels and probabilities, as eval/batch.py does."""
    write_lines(path, (_prediction(number) for number in range(num_studies)))


def _study(number: int) -> tuple[Scene, np.random.Generator, WrittenReport]:
    """The scene, the generator of another report, and the report."""
    scene_rng, image_rng, report_rng, _ = generators(SEED, number)
    scene = sample_scene(scene_rng)
    return scene, image_rng, write_report(scene, report_rng)


def _image(number: int) -> np.ndarray:
    field = np.random.default_rng((SEED, number)).integers(0, 256, (FIELD_SIDE, FIELD_SIDE), dtype=np.uint8)
    return cv2.resize(field, (IMAGE_SIDE, IMAGE_SIDE), interpolation=cv2.INTER_CUBIC)


def _prediction(number: int) -> Prediction:
    scene, rng, reference = _study(number)
    predicted = write_report(scene if rng.random() < 0.5 else sample_scene(rng), rng)
    is_present = np.isin(reference.labels, (POSITIVE, UNCERTAIN))
    probabilities = np.clip(rng.normal(np.where(is_present, 0.6, 0.3), 0.2), 0, 1)
    return Prediction(
        study_id=study_id(SEED, number),
        subject_id=subject_id(SEED, number),
        report=_text(predicted),
        probabilities=tuple(probabilities.round(4).tolist()),
        reference=_text(reference),
        reference_labels=reference.labels,
        view_positions=tuple(scene.view_positions),
        source=("one hospital", "another hospital")[number % 2],
    )


def _text(written: WrittenReport) -> str:
    return compose_report(findings=written.findings, impression=written.impression)
