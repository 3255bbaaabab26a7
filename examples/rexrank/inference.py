"""Write the reports of a JSON file of studies, as ReXrank calls a model (rexrank.ai, "Submission Guideline").

    python examples/rexrank/inference.py --input_json_file test.json --save_json_file out.json --img_root_dir images
    python examples/rexrank/inference.py test.json out.json images --checkpoint runs/mine/best

Input: an object from study ids to studies with `image_path` (paths below the image folder), `frontal_lateral` (the view
of each image) and `context` ("Age:50-60.Gender:M.Indication: … Comparison: …"). Output: the same object; each study has
its report in `model_prediction` ("Findings: … Impression: …").

The output is saved after each batch. A run that was stopped resumes with the same command. A study that cannot be read
keeps its entry without a prediction, the reason goes to standard error, and the exit status is 1.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from PIL import Image
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from data.cli import check_minimum, run_main
from data.images.read import UNKNOWN_VIEW, read_image
from data.pipeline.raw_study import path_below
from data.reports.plain_text import is_placeholder
from vlm.checkpoint.store import SHIPPED, model_line
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.atomic import write_json

PREDICTION = "model_prediction"
UNREADABLE = 1
"""Exit status if some studies have no report."""
_FIELD = re.compile(r"\b(age|gender|indication|comparison):", re.IGNORECASE)
_TAG = re.compile(r"</?context>", re.IGNORECASE)

Studies = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceOptions:
    """Write the reports of a JSON file of studies."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The three paths in the order of their flags, instead of the flags."""
    input_json_file: Path | None = None
    """JSON file with the studies."""
    save_json_file: Path | None = None
    """JSON file to write. If it exists, its predictions are kept, and the other studies are done."""
    img_root_dir: Path | None = None
    """Folder that image paths start from."""
    checkpoint: str = SHIPPED
    """Checkpoint folder or Hugging Face hub id; by default the checkpoint that ships with the project."""
    batch_size: int = 8
    """Studies per batch; memory grows with it."""
    max_new_tokens: int = GenerationOptions().max_new_tokens
    """Maximum length of a report in tokens."""

    def __post_init__(self):
        check_minimum(self, batch_size=1, max_new_tokens=1)
        given = [path for path in (*self.paths, *self._named) if path is not None]
        if len(given) != 3 or len(self.paths) not in (0, 3):
            raise ValueError(
                "give --input_json_file, --save_json_file and --img_root_dir, or the three paths in this order without "
                "flags"
            )

    @property
    def _named(self) -> tuple[Path | None, ...]:
        return (self.input_json_file, self.save_json_file, self.img_root_dir)

    @property
    def contract(self) -> tuple[Path, ...]:
        """The input, the output and the folder of the images."""
        return self.paths or self._named


def main(argv: Sequence[str] | None = None) -> int:
    """Write the reports; returns the exit status."""
    options = tyro.cli(InferenceOptions, args=argv, description=__doc__, use_underscores=True)
    input_file, output_file, image_root = options.contract
    if not image_root.is_dir():
        raise ValueError(f"--img_root_dir {image_root} is not a folder; name the one with the images")
    studies = read_studies(input_file)
    predictions = read_predictions(output_file, studies)
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    console.print(model_line(options.checkpoint))
    if predictions:
        console.print(f"Resuming: {output_file} has the reports of {len(predictions)} of {len(studies)} studies.")
    generator = ReportGenerator.from_pretrained(options.checkpoint)
    if not generator.writes_reports:
        raise ValueError(f"{options.checkpoint} only classifies, because it was not trained on reports; name another")
    save(output_file, studies, predictions)  # a path that cannot be written is found before the work
    pending = [study_id for study_id in studies if study_id not in predictions]
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as progress:
        task = progress.add_task("Reports", total=len(studies), completed=len(predictions))
        for start in range(0, len(pending), options.batch_size):
            batch = pending[start : start + options.batch_size]
            inputs = {}
            for study_id in batch:
                try:
                    inputs[study_id] = read_inputs(studies[study_id], image_root, generator)
                except (ValueError, OSError) as error:
                    console.print(f"study {study_id} has no report: {error}")
            predictions |= generate(generator, inputs, GenerationOptions(max_new_tokens=options.max_new_tokens))
            save(output_file, studies, predictions)
            progress.advance(task, len(batch))
    missing = len(studies) - len(predictions)
    console.print(f"{len(studies)} studies = {len(predictions)} with a report + {missing} that could not be read")
    return UNREADABLE if missing else 0


def read_studies(path: Path) -> Studies:
    """The studies of the input.

    Raises:
        ValueError: the file is not a JSON object of objects.
    """
    try:
        studies = json.loads(path.read_bytes())  # accepts the NaN of ReXrank's files
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it may be cut off") from error
    if not isinstance(studies, dict) or not all(isinstance(study, dict) for study in studies.values()):
        raise ValueError(f"{path} is not an object from study ids to studies, as ReXrank gives it")
    return studies


def read_predictions(path: Path, studies: Studies) -> dict[str, str]:
    """The predictions that an earlier run saved, by study id.

    Raises:
        ValueError: the file is damaged, or it is not the output for these studies.
    """
    saved = read_studies(path) if path.exists() else {}
    if other := next((study_id for study_id in saved if study_id not in studies), None):
        raise ValueError(f"{path} has the study {other}, which is not in the input; name another --save_json_file")
    return {study_id: study[PREDICTION] for study_id, study in saved.items() if study.get(PREDICTION)}


def save(path: Path, studies: Studies, predictions: dict[str, str]) -> None:
    """Write the studies with their predictions."""
    bare = {study_id: {key: study[key] for key in study if key != PREDICTION} for study_id, study in studies.items()}
    added = {study_id: {PREDICTION: prediction} for study_id, prediction in predictions.items()}
    write_json(path, {study_id: study | added.get(study_id, {}) for study_id, study in bare.items()}, indent=4)


def read_inputs(
    study: dict[str, Any], image_root: Path, generator: ReportGenerator
) -> tuple[list[Image.Image], list[str], str]:
    """The images of a study, their views (unknown unless `frontal_lateral` has one for each), and the indication.

    Raises:
        ValueError: the study names no image, or an image cannot be read.
    """
    paths = study.get("image_path") or study.get("key_image_path")
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"its image_path is {study.get('image_path')!r}; give a list of paths")
    views = study.get("frontal_lateral")
    if not isinstance(views, list) or len(views) != len(paths):
        views = [UNKNOWN_VIEW] * len(paths)
    # ReXrank's own example joins folder and path as texts, so paths may start with a slash.
    images = [generator.preprocess(read_image(path_below(image_root, path.lstrip("/")))) for path in paths]
    return images, list(map(str, views)), indication_of(study.get("context"))


def indication_of(context: Any) -> str:
    """The indication in "Age:50-60.Gender:M.Indication: Cough. Comparison: None."; a text without these names is the
    indication itself."""
    if not isinstance(context, str):
        return ""
    text, *fields = _FIELD.split(_TAG.sub("", context))
    named = {name.lower(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    indication = named.get("indication", text).strip()
    return "" if is_placeholder(indication) else indication


def generate(
    generator: ReportGenerator, inputs: dict[str, tuple[list[Image.Image], list[str], str]], options: GenerationOptions
) -> dict[str, str]:
    """The reports of these studies, by study id."""
    if not inputs:
        return {}
    images, views, indications = zip(*inputs.values(), strict=True)
    reports = generator.generate(images, view_positions=views, indications=indications, options=options)
    return {study_id: report.report for study_id, report in zip(inputs, reports, strict=True)}


if __name__ == "__main__":
    run_main(main)
