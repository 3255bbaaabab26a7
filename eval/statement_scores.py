"""A report model asked which of two statements fits: log-probabilities of beginning a report with texts that make it.

Every (indication, images) is asked once, however many studies it stands for; a study whose images cannot be read
becomes a Refusal.
"""

from collections.abc import Callable, Iterator, Sequence

import datasets
import numpy as np

from eval.generating import UNREADABLE
from eval.predictions import Refusal
from vlm.generator import ReportGenerator

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
) -> tuple[dict[Question, np.ndarray], list[Refusal]]:
    """For each question the log-probability of each of two statements: of beginning the report with any of the texts
    that make it, none of which may begin with another."""
    questions = list(dict.fromkeys(questions))
    answers, refusals = {}, []
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        read = list(_read(studies, batch, refusals))
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
    return answers, refusals


def _read(studies: datasets.Dataset, questions: Sequence[Question], refusals: list[Refusal]) -> Iterator:
    for question in questions:
        try:
            yield question, studies[question[1]]
        except UNREADABLE as error:
            study_id = studies.select_columns("study_id")[question[1]]["study_id"]
            refusals.append(Refusal(study_id=study_id, reason=str(error) or type(error).__name__, control=""))
