"""Which of two statements fits the images, by the decoder's own probability of writing each one.

    python -m eval.probes.statements --checkpoint runs/mine/best --dataset runs/kermany --split validation
    --statements "bacterial" "viral" --output statements.json

The probe uses the studies whose reference report makes exactly one of the statements. The score of a study is the log
odds that the model, given the images, begins its report with one of the prompts from the reports ("Findings: There is")
and the first statement, and not with a prompt and the second. The program prints the AUROC of this score with a 95%
interval over patients, and the AUROC with another patient's images. docs/METRICS.md explains what this shows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import datasets
import numpy as np
import tyro

from data.cli import check_minimum, run_main
from eval.controls.control import derangement
from eval.predictions.generate import UNREADABLE
from eval.predictions.prediction import Rejection
from eval.predictions.processes import Track
from eval.probes.probe import ProbeOptions, run_probe
from eval.probes.prompts import auroc_with_control, count_prompts, find_statements, statement_lines
from vlm.generator import ReportGenerator

Query = tuple[str, int]
"""An indication, and the row of the data set with the images that the model gets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementsConfig(ProbeOptions):
    """Score two statements by the probability that a model writes them."""

    split: Literal["train", "validation", "test"] = "validation"
    """Split to evaluate."""
    num_prompts: int = 32
    """Maximum number of prompts, the most frequent ones in the reports of the split."""
    num_studies: int = 0
    """Use only the first studies that make one of the statements, this many; 0: all."""
    batch_size: int = 16
    """Studies per batch; memory grows with it and with the number of prompts."""

    def __post_init__(self):
        ProbeOptions.__post_init__(self)
        check_minimum(self, num_prompts=1, batch_size=1, num_studies=0)


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(StatementsConfig, args=argv, description=__doc__)
    run_probe(config, evaluate_statements, statement_lines)


def evaluate_statements(
    config: StatementsConfig, generator: ReportGenerator, splits: datasets.DatasetDict, track: Track
) -> dict[str, Any]:
    """Return the AUROC with intervals, what it is based on, and the score of every study, ready for JSON.

    Raises:
        ValueError: the model writes no reports, no report of the split makes one of the statements, or the images
            cannot be shuffled.
    """
    if not generator.writes_reports:
        raise ValueError(
            f"{config.checkpoint} writes no reports, so it has no probability of a statement; it only classifies"
        )
    stating = find_statements(splits, config.split, config.statements, dataset=config.dataset, limit=config.num_studies)
    studies, rows = stating.studies, stating.rows[: config.num_studies or None]
    counts = count_prompts([stating.reports[row] for row in rows], config.statements)
    prompts = counts.most_common(config.num_prompts)
    texts = tuple(
        list(dict.fromkeys(prompt.followed_by(statement) for prompt, _ in prompts)) for statement in config.statements
    )
    indications, subjects, study_ids = (studies[name][:] for name in ("indication", "subject_id", "study_id"))

    def ask(queries: Sequence[Query], what: str) -> tuple[dict[Query, np.ndarray], list[Rejection]]:
        advance = track(len(queries), what)
        return log_probabilities(generator, studies, queries, texts, batch_size=config.batch_size, advance=advance)

    own = [(indications[row], row) for row in rows]
    answers, rejections = ask(own, "own images")
    own = [query for query in own if query in answers]
    truths = np.array([stating.truths[row] for _, row in own])
    subject_ids = [subjects[row] or study_ids[row] for _, row in own]
    donors = derangement(subject_ids, config.seed)
    shuffled = [(indication, own[donor][1]) for (indication, _), donor in zip(own, donors, strict=True)]
    answers |= ask([query for query in shuffled if query not in answers], "shuffled images")[0]

    own_answers = np.array([answers[query] for query in own])
    shuffled_answers = np.array([answers[query] for query in shuffled])
    # Log odds of the first statement compared with the second.
    scores, shuffled_scores = (one[:, 0] - one[:, 1] for one in (own_answers, shuffled_answers))
    return {
        **config.description(config.split),
        "num_studies": len(own),
        "num_patients": len(set(subject_ids)),
        "num_stating": [int((truths == number).sum()) for number in (0, 1)],
        "num_left_out": len(stating.reports) - len(stating.rows),
        "rejected": [asdict(rejection) for rejection in rejections],
        "seed": config.seed,
        **auroc_with_control(scores, shuffled_scores, truths == 0, subject_ids, config.num_resamples, config.seed),
        "prompts": [prompt.text for prompt, _ in prompts],
        "share_of_reports": sum(count for _, count in prompts) / counts.total(),
        "mean_probability_of_either": float(np.exp(np.logaddexp.reduce(own_answers, axis=1)).mean()),
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


def log_probabilities(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    queries: Sequence[Query],
    texts: tuple[Sequence[str], Sequence[str]],
    *,
    batch_size: int,
    advance: Callable[[int], None],
) -> tuple[dict[Query, np.ndarray], list[Rejection]]:
    """The log probability of each of two statements, for each query.

    It is the probability that the report begins with any of the texts of the statement; no text may begin with another.
    Each different query is computed once. A study with unreadable images becomes a Rejection.
    """
    queries = list(dict.fromkeys(queries))
    answers, rejections = {}, []
    for start in range(0, len(queries), batch_size):
        batch = queries[start : start + batch_size]
        read = list(_read(studies, batch, rejections))
        if read:
            values = generator.log_probabilities(
                [study["images"] for _, study in read],
                [*texts[0], *texts[1]],
                view_positions=[study["view_positions"] for _, study in read],
                indications=[indication for (indication, _), _ in read],
            ).astype(np.float64)
            sums = [np.logaddexp.reduce(part, axis=1) for part in np.split(values, [len(texts[0])], axis=1)]
            answers |= {query: row for (query, _), row in zip(read, np.stack(sums, axis=1), strict=True)}
        advance(len(batch))
    return answers, rejections


def _read(studies: datasets.Dataset, queries: Sequence[Query], rejections: list[Rejection]) -> Iterator:
    for query in queries:
        try:
            yield query, studies[query[1]]
        except UNREADABLE as error:
            study_id = studies.select_columns("study_id")[query[1]]["study_id"]
            rejections.append(Rejection(study_id=study_id, reason=str(error) or type(error).__name__, control=""))


if __name__ == "__main__":
    run_main(main)
