"""The model card of a checkpoint, README.md, from what the checkpoint records and from saved evaluations of it.

    python -m eval.report.model_card --checkpoint vlm/weights/tiny --results docs/results/tiny_*.json --recipe recipe.sh

`--results` are metrics.json of eval/batch.py and figures of eval.probes.statements, under the names that their
sections shall
bear; those of another checkpoint are rejected. No figure is by hand: `--notes`, more Markdown for what the model cannot
do, may hold none. The card ends with the command that writes it.

Saved evaluations as the scores of a model card: documents in, paragraphs of Markdown out.

A document is a metrics.json (eval/report/document.py) or the figures of eval.probes.statements or
eval.probes.linear_probe.
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
from eval.report.figures import model_of
from eval.report.tables import (
    consistency_lines,
    finding_table,
    grounding_lines,
    group_table,
    section_title,
    statement_lines,
    system_table,
    table,
    told,
)
from eval.scoring.verdict import SHUFFLED_IMAGES
from vlm.checkpoint.provenance import Provenance, load_provenance, provenance_table
from vlm.checkpoint.store import SHIPPED, WEIGHTS, checkpoint_hash, find_checkpoint
from vlm.config import ReportModelConfig
from vlm.schema.findings import FINDINGS
from vlm.schema.strict_json import read_json
from vlm.uncertainty import Calibration

OVERVIEW = {
    "macro_f1": "macro-F1 of reports",
    "macro_auroc": "AUROC",
    "micro_accuracy": "accuracy of calls",
    "pooled_calibration_error": "calibration error",
}


def card_scores(documents: Mapping[str, Mapping[str, Any]], calibration: Calibration) -> list[str]:
    """An overview, how calibrated the probabilities are, and a section for each document by its name."""
    if not documents:
        return ["It has not been evaluated."]
    evaluations = {name: document for name, document in documents.items() if "systems" in document}
    parts = [_overview(evaluations), [_calibration(calibration)]]
    for name, document in documents.items():
        parts += _evaluation_section(name, document) if name in evaluations else _statements(name, document)
    return ["\n".join(lines) for lines in parts if lines]


def _overview(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The model alone, and with other patients' images."""
    rows = []
    for name, document in evaluations.items():
        shuffled = document["systems"].get(SHUFFLED_IMAGES)
        title = f"{section_title(name)}, {document['studies']['written']:,} studies"
        rows.append([title, *(told(model_of(document)["metrics"], metric) for metric in OVERVIEW)])
        if shuffled is not None:
            rows.append([SHUFFLED_IMAGES, *(told(shuffled["metrics"], metric) for metric in OVERVIEW)])
    return table(["on", *OVERVIEW.values()], rows)


def _calibration(calibration: Calibration) -> str:
    if not calibration.is_calibrated:
        return "Its probabilities are not calibrated: read them as a ranking."
    return (
        f"Calibration: probabilities are sigmoid(logit / {calibration.temperature:.3f}), a temperature that "
        f"{calibration.num_studies:,} validation studies chose, as they did each finding's threshold. The calibration "
        "error above is the expected one (Guo et al. 2017; all labelled probabilities pooled, 15 bins of equal width)."
    )


def _evaluation_section(name: str, document: Mapping[str, Any]) -> list[list[str]]:
    run, verdict = document["run"], document["verdict"]
    told_first = [verdict.get("outperformed_by", ""), *verdict.get("facts", ())]
    by_source = group_table(document, "source")
    return [
        [f"### {section_title(name)}"],
        [
            f"`{run['dataset']}`, split {run['split']}: {document['studies']['written']:,} of "
            f"{document['studies']['given']:,} studies; {document['convention']}."
        ],
        [f"**{verdict['image']}**", "", *(f"- {fact}" for fact in told_first if fact)],
        system_table(document),
        ["By source:"] if by_source else [],
        by_source,
        ["By finding:"],
        finding_table(document),
        consistency_lines(document),
        grounding_lines(document),
    ]


def _statements(name: str, document: Mapping[str, Any]) -> list[list[str]]:
    return [[f"### {section_title(name)}"], statement_lines(document)]


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
    """The commands that made it, a shell script; the card holds them."""
    notes: Path | None = None
    """Markdown without figures: more on what it cannot do."""
    name: str = SHIPPED
    """What the model is called."""
    output: Path | None = None
    """The card; by default README.md in the checkpoint folder."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, reads, writes."""
    config = tyro.cli(ModelCardConfig, args=argv, description=__doc__)
    folder = find_checkpoint(config.checkpoint)
    output = config.output or folder / "README.md"
    output.write_text(model_card_text(config, folder), encoding="utf-8")
    print(f"{output}: the card of {config.name}, from {len(config.results)} evaluations")


def model_card_text(config: ModelCardConfig, folder: Path) -> str:
    """The card.

    Raises:
        ValueError: a file is absent, too large, no evaluation, or of another checkpoint; or the notes hold figures.
    """
    documents = {path.stem: _evaluation(path, folder) for path in config.results}
    model = read_json(folder / "config.json", ReportModelConfig)
    calibration = read_json(folder / "calibration.json", Calibration)
    provenance = load_provenance(folder)
    sections = [
        _front_matter(provenance),
        f"# {config.name}",
        "**Not a medical device.** It writes drafts for research and teaching; no diagnosis or treatment may rest on "
        "it.",
        _what_it_is(model, folder),
        _use(config.name),
        "## What it was trained on",
        provenance_table(provenance),
        "Validation studies chose weights, temperature and thresholds. No test study was learned from or chose "
        "anything.",
        "\n".join(f"- {credit}" for credit in credits_of(provenance.sources)),
        "## How good it is",
        "Value and 95 % interval (bootstrap over patients), beside controls: the same model with other patients' "
        "images or blank ones, the report of the nearest training study, one report for everybody. Figures on a "
        "validation split flatter, for it chose the weights.",
        *card_scores(documents, calibration),
        "## What it cannot do",
        "\n".join(f"- {limit}" for limit in _limits(model, calibration, provenance, folder)),
        _notes(config.notes),
        "## How it was made",
        _recipe(config.recipe),
        "No figure in this card is by hand. It was written by",
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


def _what_it_is(model: ReportModelConfig, folder: Path) -> str:
    encoder = model.encoder.architecture["model_type"]
    decoder = {"gpt2": "a GPT-2", "lstm": "an LSTM"}[model.decoder.kind]
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    does = "says which of 14 findings it sees and how sure it is, and writes the report"
    if not model.writes_reports:
        does = "says which of 14 findings it sees and how sure it is; it has learned no reports and writes none"
    return (
        f"It reads the views of a chest X-ray study at {model.image.size} x {model.image.size} pixels, {does}. "
        f"Encoder: {encoder}; decoder: {decoder} of {model.decoder.architecture['n_layer']} layers with "
        f"{model.decoder.architecture['vocab_size']:,} tokens of its own; {_num_parameters(folder):,} parameters, "
        f"{num_bytes / 1e6:.1f} MB of safetensors."
    )


def _num_parameters(folder: Path) -> int:
    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def _use(name: str) -> str:
    argument = "" if name == SHIPPED else '"FOLDER"'
    flag = "" if name == SHIPPED else " --checkpoint FOLDER"
    return (
        "```python\nfrom data.images.read import read_image\nfrom vlm.generator import ReportGenerator\n\n"
        f"generator = ReportGenerator.from_pretrained({argument})\n"
        '[report] = generator.generate([[read_image("frontal.dcm"), read_image("lateral.dcm")]])\n```\n\n'
        f"or `python -m page.report frontal.dcm lateral.dcm{flag}`, or the web page, `python app.py{flag}`."
    )


def _limits(model: ReportModelConfig, calibration: Calibration, provenance: Provenance, folder: Path) -> list[str]:
    unknown = [finding for finding, is_known in zip(FINDINGS, calibration.is_known, strict=True) if not is_known]
    boxes = ""
    if _setting(folder, "box_weight"):
        boxes = "; in training it was drawn into the boxes that synthetic studies give for findings"
    return [
        *limits_of(provenance.sources),
        *(["It writes no reports."] if not model.writes_reports else []),
        *([f"It has learned nothing of: {', '.join(unknown)}."] if unknown else []),
        "On images from elsewhere its reports and probabilities may be wrong without any sign of it. An image "
        "unlike those it learned from is doubted aloud, but not every such image is noticed.",
        "Its probabilities are calibrated on validation studies of the sources above, in their mixture, and on nothing "
        "else; where a finding is more or less common they are off.",
        f"Attention maps show where the model looked, not why{boxes}.",
        "It is given one study and no prior ones, and knows nothing of a patient but the indication.",
    ]


def _setting(folder: Path, name: str) -> Any:
    path = folder / "training_config.json"
    return json.loads(path.read_text(encoding="utf-8")).get(name) if path.is_file() else None


def _notes(path: Path | None) -> str:
    if path is None:
        return ""
    text = _read(path, "notes").strip()
    if found := _FIGURE.search(text):
        raise ValueError(
            f"--notes {path} holds the figure {found[0]!r}; figures come from --results alone, leave it out"
        )
    return text


def _recipe(path: Path | None) -> str:
    if path is None:
        return "`training_config.json` beside this card holds every setting of the last run."
    fence = "````" if "```" in (text := _read(path, "recipe").strip()) else "```"
    return (
        f"These commands (`{path}`), from the project's root, rebuild it; `training_config.json` beside this card "
        f"holds every setting of the last run.\n\n{fence}sh\n{text}\n{fence}"
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


def _evaluation(path: Path, folder: Path) -> dict[str, Any]:
    """A saved evaluation, made sure to be of this very checkpoint."""
    try:
        document = json.loads(_read(path, "results"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"--results {path} is not valid JSON ({error})") from error
    if not isinstance(document, dict) or not {"systems", "statements"} & set(document):
        raise ValueError(f"--results {path} is no metrics.json of eval/batch.py and no file of eval.probes.statements")
    judged = document.get("run", document).get("checkpoint_hash", "none")
    if judged != (own := checkpoint_hash(str(folder))):
        raise ValueError(
            f"--results {path} judges the checkpoint of content {judged}, but {folder} is {own}; evaluate this one"
        )
    return document


def _read(path: Path, kind: str) -> str:
    if not path.is_file():
        raise ValueError(f"--{kind} {path} does not exist")
    if path.stat().st_size > MAX_BYTES[kind]:
        raise ValueError(f"--{kind} {path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES[kind]:,} are read")
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
