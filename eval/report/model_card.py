"""Write the model card of a checkpoint, README.md, from the checkpoint and from saved evaluations of it.

    python -m eval.report.model_card --checkpoint vlm/weights/tiny --results docs/results/tiny_*.json --recipe recipe.sh

`--results` are metrics.json files of eval/batch.py and results of programs of eval.probes;
file names become section titles. Results of another checkpoint are rejected. No number is typed by hand: `--notes`,
extra Markdown on the limits of the model, must not hold any. The card ends with the command that writes it.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from huggingface_hub import ModelCardData
from safetensors import safe_open

from data.cli import run_main
from data.sources.credits import credits_of, limits_of
from eval.report.figures import model_of, outperformed_by
from eval.report.tables import (
    cell,
    consistency_lines,
    finding_table,
    grounding_lines,
    group_table,
    is_probe,
    markdown_table,
    probe_lines,
    section_title,
    system_table,
)
from eval.scoring.verdict import SHUFFLED_IMAGES
from vlm.checkpoint.provenance import Provenance, load_provenance, provenance_table
from vlm.checkpoint.store import SHIPPED, WEIGHTS, checkpoint_hash, find_checkpoint
from vlm.config import ReportModelConfig
from vlm.schema.atomic import write_atomically
from vlm.schema.findings import FINDINGS
from vlm.schema.strict_json import read_json
from vlm.uncertainty import Calibration

OVERVIEW = {
    "macro_f1": "macro-F1 of reports",
    "macro_auroc": "AUROC",
    "micro_accuracy": "accuracy of the classifier",
    "pooled_calibration_error": "calibration error",
}
MAX_BYTES = {"results": 64 * 2**20, "recipe": 2**16, "notes": 2**16}
_FIGURE = re.compile(r"(?<!\w)\d*\.\d+|\d+(?:\.\d+)? ?%")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCardConfig:
    """Write the model card of a checkpoint."""

    checkpoint: Path
    """Checkpoint folder."""
    results: tuple[Path, ...] = ()
    """Saved evaluations of this checkpoint."""
    recipe: Path | None = None
    """Shell script with the commands that made the checkpoint; the card includes it."""
    notes: Path | None = None
    """Markdown without numbers: more limits of the model."""
    name: str = SHIPPED
    """Name of the model."""
    output: Path | None = None
    """The card to write; by default README.md in the checkpoint folder."""


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(ModelCardConfig, args=argv, description=__doc__)
    folder = find_checkpoint(config.checkpoint)
    output = config.output or folder / "README.md"
    write_atomically(output, model_card_text(config, folder))
    print(f"{output}: the card of {config.name}, from {len(config.results)} evaluations")


def model_card_text(config: ModelCardConfig, folder: Path) -> str:
    """Return the card as Markdown.

    Raises:
        ValueError: a file is missing, too large, no evaluation, or of another checkpoint; or the notes hold numbers.
    """
    documents = {path.stem: _read_evaluation(path, folder) for path in config.results}
    model = read_json(folder / "config.json", ReportModelConfig)
    calibration = read_json(folder / "calibration.json", Calibration)
    provenance = load_provenance(folder)
    sections = [
        _front_matter(provenance),
        f"# {config.name}",
        "**Not a medical device.** The model writes drafts for research and teaching. Do not use it for diagnosis or "
        "treatment.",
        _description(model, folder),
        _usage(config.name),
        "## Training data",
        provenance_table(provenance),
        "Validation studies were used to select weights, temperature and thresholds. Test studies were not used for "
        "training or selection.",
        "\n".join(f"- {credit}" for credit in credits_of(provenance.sources)),
        "## Evaluation",
        "Each value has its 95% interval (bootstrap over patients). The controls are the same model with another "
        "patient's images or blank images, the report of the nearest training study, and one report for all patients. "
        "Scores on a validation split are optimistic, because it was used to select the weights.",
        *evaluation_sections(documents, calibration),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(model, calibration, provenance, folder)),
        _notes(config.notes),
        "## How it was made",
        _recipe(config.recipe),
        "No number in this card is typed by hand. It was written by",
        f"```sh\n{_command(config)}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(provenance: Provenance) -> str:
    data = ModelCardData(
        library_name="cxrscribe",
        tags=["chest-x-ray", "report-generation", "not-a-medical-device"],
        license="other",
        license_name="; ".join(provenance.licenses) or "unknown",
    )
    return f"---\n{data}\n---"


def _description(model: ReportModelConfig, folder: Path) -> str:
    encoder = model.encoder.architecture["model_type"]
    decoder = {"gpt2": "a GPT-2", "lstm": "an LSTM"}[model.decoder.kind]
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    output = "predicts a probability for each of 14 findings and writes the report"
    if not model.writes_reports:
        output = "predicts a probability for each of 14 findings; it was not trained on reports and writes none"
    return (
        f"The model reads the views of a chest X-ray study at {model.image.size} x {model.image.size} pixels, {output}."
        f" Encoder: {encoder}; decoder: {decoder} with {model.decoder.architecture['n_layer']} layers and its own "
        f"vocabulary of {model.decoder.architecture['vocab_size']:,} tokens; {_num_parameters(folder):,} parameters, "
        f"{num_bytes / 1e6:.1f} MB of safetensors."
    )


def _num_parameters(folder: Path) -> int:
    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def _usage(name: str) -> str:
    argument = "" if name == SHIPPED else '"FOLDER"'
    flag = "" if name == SHIPPED else " --checkpoint FOLDER"
    return (
        "```python\nfrom data.images.read import read_image\nfrom vlm.generator import ReportGenerator\n\n"
        f"generator = ReportGenerator.from_pretrained({argument})\n"
        '[report] = generator.generate([[read_image("frontal.dcm")]], view_positions=[["PA"]])\n```\n\n'
        f"or `python -m page.report frontal.dcm{flag}`, which also checks the images, or the web page: "
        f"`python app.py{flag}`."
    )


def evaluation_sections(documents: Mapping[str, Mapping[str, Any]], calibration: Calibration) -> list[str]:
    """An overview, the calibration, and a section for each document."""
    if not documents:
        return ["The model has not been evaluated."]
    parts = [
        _overview({name: document for name, document in documents.items() if not is_probe(document)}),
        [_calibration(calibration)],
    ]
    for name, document in documents.items():
        parts.append([f"### {section_title(name)}"])
        parts += [probe_lines(document)] if is_probe(document) else _evaluation(document)
    return ["\n".join(lines) for lines in parts if lines]


def _overview(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The model on each data set, and with other patients' images."""
    rows = []
    for name, document in evaluations.items():
        title = f"{section_title(name)}, {document['studies']['written']:,} studies"
        systems = {title: model_of(document), SHUFFLED_IMAGES: document["systems"].get(SHUFFLED_IMAGES)}
        rows += [
            [shown, *(cell(system["metrics"], metric) for metric in OVERVIEW)]
            for shown, system in systems.items()
            if system is not None
        ]
    return markdown_table(["on", *OVERVIEW.values()], rows)


def _calibration(calibration: Calibration) -> str:
    if not calibration.is_calibrated:
        return "The probabilities are not calibrated: use them only as a ranking."
    return (
        f"Calibration: the probabilities are sigmoid(logit / {calibration.temperature:.3f}). The temperature and the "
        f"threshold of each finding were fitted on {calibration.num_studies:,} validation studies. The calibration "
        "error above is the expected calibration error (Guo et al. 2017) over all labeled probabilities, 15 bins of "
        "equal width."
    )


def _evaluation(document: Mapping[str, Any]) -> list[list[str]]:
    run, verdict = document["run"], document["verdict"]
    facts = [outperformed_by(document), *verdict.get("facts", ())]
    by_source = group_table(document, "source")
    return [
        [
            f"`{run['dataset']}`, split {run['split']}: {document['studies']['written']:,} of "
            f"{document['studies']['given']:,} studies; {document['convention']}."
        ],
        [f"**{verdict['image']}**", "", *(f"- {fact}" for fact in facts if fact)],
        system_table(document),
        ["By source:"] if by_source else [],
        by_source,
        ["By finding:"],
        finding_table(document),
        consistency_lines(document),
        grounding_lines(document),
    ]


def _limits(model: ReportModelConfig, calibration: Calibration, provenance: Provenance, folder: Path) -> list[str]:
    unknown = [finding for finding, is_known in zip(FINDINGS, calibration.is_known, strict=True) if not is_known]
    boxes = ""
    if _training_setting(folder, "box_weight"):
        boxes = "; it was trained to be inside the boxes of findings in synthetic studies"
    return [
        *limits_of(provenance.sources),
        *(["It writes no reports."] if not model.writes_reports else []),
        *([f"It was not trained on: {', '.join(unknown)}."] if unknown else []),
        "On images from other sources, its reports and probabilities may be wrong without any sign of it. The "
        "out-of-distribution check warns about images that look different from the training images, but does not find "
        "all of them.",
        "Its probabilities are calibrated only on validation studies of the sources above, in their proportions. They "
        "are wrong where a finding is more or less common.",
        f"Attention maps show where the model looked, not why{boxes}.",
        f"It reads {_what_it_reads(model)}, and knows nothing else about a patient except the indication.",
    ]


def _what_it_reads(model: ReportModelConfig) -> str:
    return "one study and, if it is given, one prior study" if model.prior else "one study without prior studies"


def _training_setting(folder: Path, name: str) -> Any:
    path = folder / "training_config.json"
    return json.loads(path.read_text(encoding="utf-8")).get(name) if path.is_file() else None


def _notes(path: Path | None) -> str:
    if path is None:
        return ""
    text = _read(path, "notes").strip()
    if found := _FIGURE.search(text):
        raise ValueError(f"--notes {path} holds the number {found[0]!r}; numbers come only from --results, remove it")
    return text


def _recipe(path: Path | None) -> str:
    if path is None:
        return "`training_config.json` in this folder holds all settings of the last run."
    fence = "````" if "```" in (text := _read(path, "recipe").strip()) else "```"
    return (
        f"These commands (`{path}`) rebuild it from the root of the project; `training_config.json` in this folder "
        f"holds all settings of the last run.\n\n{fence}sh\n{text}\n{fence}"
    )


def _command(config: ModelCardConfig) -> str:
    words = ["python", "-m", "eval.report.model_card", "--checkpoint", str(config.checkpoint)]
    if config.results:
        words += ["--results", *map(str, config.results)]
    for flag in ("recipe", "notes"):
        if getattr(config, flag) is not None:
            words += [f"--{flag}", str(getattr(config, flag))]
    if config.name != SHIPPED:
        words += ["--name", config.name]
    return shlex.join(words)


def _read_evaluation(path: Path, folder: Path) -> dict[str, Any]:
    """Read a saved evaluation and check that it is of this checkpoint."""
    try:
        document = json.loads(_read(path, "results"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"--results {path} is not valid JSON ({error})") from error
    if not isinstance(document, dict) or not ("systems" in document or is_probe(document)):
        raise ValueError(
            f"--results {path} is neither a metrics.json of eval/batch.py nor a result of a program of eval.probes"
        )
    evaluated = document.get("run", document).get("checkpoint_hash", "none")
    if evaluated != (own := checkpoint_hash(str(folder))):
        raise ValueError(
            f"--results {path} is an evaluation of the checkpoint with hash {evaluated}, but {folder} has the hash "
            f"{own}; evaluate this checkpoint"
        )
    return document


def _read(path: Path, kind: str) -> str:
    if not path.is_file():
        raise ValueError(f"--{kind} {path} does not exist")
    if path.stat().st_size > MAX_BYTES[kind]:
        raise ValueError(f"--{kind} {path} has {path.stat().st_size:,} bytes; the maximum is {MAX_BYTES[kind]:,}")
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
