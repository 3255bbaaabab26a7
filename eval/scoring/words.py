"""Scores that compare the words of reports and references (BLEU, ROUGE-L, CIDEr, METEOR, chrF), per study.

They need nothing of the other scores. For many studies they are computed in a second process meanwhile.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np

from data.cli import end_with_parent
from eval.metrics.bleu import bleu
from eval.metrics.chrf import chrf
from eval.metrics.cider import both_ciders
from eval.metrics.meteor import meteor
from eval.metrics.rouge import rouge_l, stemmed_rouge_l

MEAN_TEXT_SCORES = ("cider", "plain_cider", "rouge_l", "stemmed_rouge_l", "meteor")
"""Text scores averaged over studies. BLEU and chrF are computed from sums of counts."""
MIN_STUDIES = 2000
"""With fewer studies, a second process would take longer to start than it saves."""

WordStatistics = dict[str, np.ndarray]


def word_statistics(reports: Sequence[str], references: Sequence[str]) -> WordStatistics:
    """MEAN_TEXT_SCORES [studies], and the sums for `bleu` and `chrf` [studies, …], of normalized texts. 0 for a study
    without a reference text; nothing if no study has one."""
    scored = [study for study, reference in enumerate(references) if reference]
    if not scored:
        return {}
    pair = [reports[study] for study in scored], [references[study] for study in scored], "none"
    found = {score.__name__: score(*pair).statistics for score in (bleu, chrf)}
    found |= {score.__name__: score(*pair).per_study for score in (rouge_l, stemmed_rouge_l, meteor)}
    found["cider"], found["plain_cider"] = (score.per_study for score in both_ciders(*pair))
    spread = {name: np.zeros((len(references), *values.shape[1:])) for name, values in found.items()}
    for name, values in found.items():
        spread[name][scored] = values
    return {name: compact(values) for name, values in spread.items()}


def compact(values: np.ndarray) -> np.ndarray:
    """Counts in the smallest type that holds them, because a system has hundreds for each study; others as they are."""
    if values.size and values.min() >= 0 and (values == np.rint(values)).all():
        return values.astype(np.min_scalar_type(int(values.max())))
    return values


@contextmanager
def word_scorer(num_studies: int) -> Iterator[Callable[[Sequence[str], Sequence[str]], Callable[[], WordStatistics]]]:
    """A function that takes the normalized texts of a system, and returns a function that gives their
    `word_statistics`. For many studies, a second process computes them in the order in which the systems were given."""
    if num_studies < MIN_STUDIES:
        yield lambda *texts: partial(word_statistics, *texts)
        return
    # Spawned, because forking a process with threads is not safe.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
    try:
        yield lambda *texts: pool.submit(word_statistics, *texts).result
    finally:
        pool.shutdown(cancel_futures=True)
