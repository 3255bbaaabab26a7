"""Which of two statements fits the images? The decoder's own odds of writing the one or the other, as a score.

    python -m eval.probes.statements --checkpoint runs/mine/best --dataset runs/kermany --split validation
    --statements "bacterial" "viral" --output statements.json

Judged are the studies whose reference report makes one of the two statements and not the other. A study's score is the
log-odds that the model, shown its images, begins its report with one of the reports' lead-ins ("Findings: There is")
and the first statement, rather than with one of them and the second. Printed: the AUROC of that score with a 95 %
interval over patients, and the same with other patients' images. What it is and is not: docs/METRICS.md.

A report model asked which of two statements fits: log-probabilities of beginning a report with texts that make it.

Every (indication, images) is asked once, however many studies it stands for; a study whose images cannot be read
becomes a Rejection.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from rich.console import Console

from data.cli import run_main
from data.study import load_studies
from eval.controls.control import derangement
from eval.metrics.bootstrap import NUM_RESAMPLES, interval, point_values, resample
from eval.metrics.probabilities import ranking_scores
from eval.predictions.generate import UNREADABLE
from eval.predictions.prediction import Rejection
from eval.predictions.run import Track, progress
from eval.probes.prompts import LeadIn, check_statements, lead_ins, which_stated
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, model_line
from vlm.generator import ReportGenerator
from vlm.schema.report_format import compose_report

Question = tuple[str, int]
"""The indication that the model is told, and the row of the data set whose images it is shown."""


def ask(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    questions: Sequence[Question],
    texts: tuple[Sequence[str], Sequence[str]],
    *,
    batch_size: int,
    advance: Callable[[int], None],
) -> tuple[dict[Question, np.ndarray], list[Rejection]]:
    """For each question the log-probability of each of two statements: of beginning the report with any of the texts
    that make it, none of which may begin with another."""
    questions = list(dict.fromkeys(questions))
    answers, rejections = {}, []
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        read = list(_read(studies, batch, rejections))
        if read:
            values = generator.log_probabilities(
                [study["images"] for _, study in read],
                [*texts[0], *texts[1]],
                view_positions=[study["view_positions"] for _, study in read],
                indications=[indication for (indication, _), _ in read],
            ).astype(np.float64)
            sums = np.stack(
                [np.logaddexp.reduce(part, axis=1) for part in np.split(values, [len(texts[0])], axis=1)], axis=1
            )
            answers |= {question: row for (question, _), row in zip(read, sums, strict=True)}
        advance(len(batch))
    return answers, rejections


def _read(studies: datasets.Dataset, questions: Sequence[Question], rejections: list[Rejection]) -> Iterator:
    for question in questions:
        try:
            yield question, studies[question[1]]
        except UNREADABLE as error:
            study_id = studies.select_columns("study_id")[question[1]]["study_id"]
            rejections.append(Rejection(study_id=study_id, reason=str(error) or type(error).__name__, control=""))


FIGURES = {
    "auroc": "AUROC",
    "auroc_shuffled": "AUROC with another patient's images",
    "difference": "difference",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementsConfig:
    """Score two statements against each other by a model's own odds of writing them."""

    checkpoint: str = SHIPPED
    """Checkpoint folder (or hub id) of the model; by default the one that ships with the project."""
    dataset: Path
    """Prepared data set, as `python -m data.prepare` writes it."""
    split: Literal["train", "validation", "test"] = "validation"
    """Which studies are judged."""
    statements: tuple[str, str]
    """The two, in the words of the reports; case does not matter."""
    num_lead_ins: int = 32
    """At most so many lead-ins, the most frequent in the split's reports."""
    num_studies: int = 0
    """Only the first so many studies that make one of the statements; 0: all."""
    batch_size: int = 16
    """Studies at a time; memory grows with it and with the number of lead-ins."""
    num_resamples: int = NUM_RESAMPLES
    """Resamples of the intervals."""
    seed: int = 0
    """Decides the resamples, and whose images a study gets in the control."""
    output: Path | None = None
    """JSON file for the figures, the lead-ins and every study's score."""

    def __post_init__(self):
        check_statements(self.statements)
        for name in ("num_lead_ins", "batch_size", "num_resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least 1")
        if self.num_studies < 0:
            raise ValueError(f"--num-studies is {self.num_studies}; give 1 or more, or 0 for all")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Studies whose report makes one statement: their rows, which one it is (0 or 1), and the lead-ins to ask with."""

    rows: list[int]
    truths: list[int]
    lead_ins: list[LeadIn]
    share_of_reports: float
    """Of the judged reports, those that come to their statement by one of the lead-ins."""
    num_left_out: int
    """Studies whose report makes neither statement, or both."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, asks the model, tells."""
    config = tyro.cli(StatementsConfig, args=argv, description=__doc__)
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    datasets.disable_progress_bars()
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    with progress(console) as track:
        document = judge(config, generator, track)
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        config.output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for line in lines(document):
        console.print(line, highlight=False)


def judge(config: StatementsConfig, generator: ReportGenerator, track: Track) -> dict[str, Any]:
    """The figures with intervals, what they rest on, and every study's score, ready for JSON.

    Raises:
        ValueError: the model writes no reports, no report of the split makes one of the statements, or the images
            cannot be shuffled.
    """
    if not generator.writes_reports:
        raise ValueError(
            f"{config.checkpoint} writes no reports, so it has no odds of any statement; it only classifies"
        )
    studies = load_studies(config.dataset).get(config.split, ())
    if not len(studies):
        raise ValueError(f"{config.dataset} has no studies in its {config.split} split")
    judged = choose(config, studies)
    texts = tuple(
        list(dict.fromkeys(lead_in.followed_by(statement) for lead_in in judged.lead_ins))
        for statement in config.statements
    )
    indications = studies["indication"][:]
    asking = {"texts": texts, "batch_size": config.batch_size}

    own = [(indications[row], row) for row in judged.rows]
    answers, rejections = ask(generator, studies, own, **asking, advance=track(len(own), "own images"))
    kept = [number for number, question in enumerate(own) if question in answers]
    own, truths = [own[number] for number in kept], np.array([judged.truths[number] for number in kept])
    subjects, study_ids = studies["subject_id"][:], studies["study_id"][:]
    subject_ids = [subjects[row] or study_ids[row] for _, row in own]
    donors = derangement(subject_ids, config.seed)
    shuffled = [(indication, own[donor][1]) for (indication, _), donor in zip(own, donors, strict=True)]
    unknown = [question for question in shuffled if question not in answers]
    answers |= ask(generator, studies, unknown, **asking, advance=track(len(unknown), "shuffled images"))[0]

    log_probabilities = np.array([answers[question] for question in own])
    scores = _log_odds(log_probabilities)
    shuffled_scores = _log_odds(np.array([answers[question] for question in shuffled]))

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        of_own, of_others = (ranking_scores(odds, truths == 0, weights)["auroc"] for odds in (scores, shuffled_scores))
        return {"auroc": of_own, "auroc_shuffled": of_others, "difference": of_own - of_others}

    values = point_values(statistic, len(own))
    samples = resample(statistic, subject_ids, config.num_resamples, config.seed)
    return {
        "statements": list(config.statements),
        "checkpoint": config.checkpoint,
        "checkpoint_hash": checkpoint_hash(config.checkpoint),
        "dataset": str(config.dataset),
        "split": config.split,
        "num_studies": len(own),
        "num_patients": len(set(subject_ids)),
        "num_stating": [int((truths == number).sum()) for number in (0, 1)],
        "num_left_out": judged.num_left_out,
        "rejected": [asdict(rejection) for rejection in rejections],
        "seed": config.seed,
        **{name: asdict(interval(values[name], samples[name])) for name in FIGURES},
        "prompts": [lead_in.text for lead_in in judged.lead_ins],
        "share_of_reports": judged.share_of_reports,
        "mean_probability_of_either": float(np.exp(np.logaddexp.reduce(log_probabilities, axis=1)).mean()),
        "studies": [
            {
                "study_id": study_ids[row],
                "subject_id": subjects[row],
                "stated": config.statements[truth],
                "log_odds": round(float(score), 4),
                "log_odds_shuffled": round(float(other), 4),
                "image_study_id": study_ids[shown],
            }
            for (_, row), (_, shown), truth, score, other in zip(
                own, shuffled, truths, scores, shuffled_scores, strict=True
            )
        ],
    }


def choose(config: StatementsConfig, studies: datasets.Dataset) -> Judged:
    """Which studies are judged, and with which lead-ins; raises ValueError where there are none."""
    sections = zip(studies["findings"][:], studies["impression"][:], strict=True)
    reports = [compose_report(findings=findings, impression=impression) for findings, impression in sections]
    truths = [which_stated(report, config.statements) for report in reports]
    stating = [row for row, truth in enumerate(truths) if truth is not None]
    rows = stating[: config.num_studies or None]
    for number, statement in enumerate(config.statements):
        if not any(truths[row] == number for row in rows):
            raise ValueError(
                f"no report of the {config.split} split of {config.dataset} makes the statement {statement!r} without "
                "the other, so nothing can be ranked; give --statements in the reports' own words"
            )
    counts = lead_ins([reports[row] for row in rows], config.statements)
    chosen = counts.most_common(config.num_lead_ins)
    return Judged(
        rows=rows,
        truths=[truths[row] for row in rows],
        lead_ins=[lead_in for lead_in, _ in chosen],
        share_of_reports=sum(count for _, count in chosen) / counts.total(),
        num_left_out=len(reports) - len(stating),
    )


def lines(document: dict[str, Any]) -> list[str]:
    """The document's figures in words."""
    one, other = document["statements"]
    stating, other_stating = document["num_stating"]
    told = [
        f"{one!r} ({stating} studies) against {other!r} ({other_stating}), {document['num_patients']} patients; "
        f"{document['num_left_out']} studies state neither or both",
        *(f"{words}: {_told(document[name])}" for name, words in FIGURES.items()),
        f"{len(document['prompts'])} lead-ins, which {document['share_of_reports']:.0%} of these reports use; the "
        f"model begins {document['mean_probability_of_either']:.0%} of its reports with one of them and a statement",
    ]
    if document["rejected"]:
        first = document["rejected"][0]
        told.append(f"{len(document['rejected'])} studies were rejected, first {first['study_id']}: {first['reason']}")
    return told


def _log_odds(log_probabilities: np.ndarray) -> np.ndarray:
    """Of the first statement over the second."""
    return log_probabilities[:, 0] - log_probabilities[:, 1]


def _told(estimate: dict[str, Any]) -> str:
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


if __name__ == "__main__":
    run_main(main)
