"""The best single report to give to every patient, by each metric: what a system that looks at nothing can reach.

Candidates are real reports; a report that is best by CIDEr is short, by BLEU-4 long, by macro-F1 names many findings,
so each metric has a constant of its own. Chosen on other reports than those it is scored on.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from eval.bleu import bleu_from_statistics
from eval.clinical import is_positive, mean_of_defined
from eval.controls import constant_sentence
from eval.ngrams import MAX_ORDER, ngram_counts
from eval.normalization import DEFAULT_NORMALIZATION, normalize_report

MAX_REPORTS = 2_000
LabelReport = Callable[[str], Sequence[int]]


def best_constants(
    reports: Sequence[str],
    label_report: LabelReport,
    *,
    normalization: str = DEFAULT_NORMALIZATION,
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> dict[str, str]:
    """For "macro_f1", "cider" and "bleu_4" the report that would score best if it were given to all of `reports`, or to
    2,000 drawn from them; empty where there is no report."""
    reports = sorted(report for report in reports if normalize_report(report, normalization))
    if not reports:
        return {}
    if len(reports) > MAX_REPORTS:
        reports = random.Random(seed).sample(reports, MAX_REPORTS)
    return {
        "macro_f1": best_by_macro_f1(reports, label_report, uncertain_is_positive),
        "cider": constant_sentence(reports, seed),
        "bleu_4": best_by_bleu_4(reports, normalization),
    }


def best_by_bleu_4(reports: Sequence[str], normalization: str = DEFAULT_NORMALIZATION) -> str:
    """The report with the highest corpus BLEU-4 against all; of equals the first by its words.

    A constant's matches are the sum over its n-grams of min(its count, the reference's count): of how many references
    have the n-gram at least once, twice, … So every report is tried against all without comparing pairs.
    """
    words = [tuple(normalize_report(report, normalization).split()) for report in reports]
    having: Counter[tuple[tuple[str, ...], int]] = Counter()
    for report in words:
        for ngram, count in ngram_counts(report).items():
            having.update((ngram, times) for times in range(1, count + 1))
    num_words = sum(map(len, words))
    candidates = sorted({report: number for number, report in reversed(list(enumerate(words)))}.items())
    statistics = np.zeros((len(candidates), 2 * MAX_ORDER + 2))
    for row, (report, _) in enumerate(candidates):
        for ngram, count in ngram_counts(report).items():
            statistics[row, len(ngram) - 1] += sum(having[ngram, times] for times in range(1, count + 1))
        statistics[row, MAX_ORDER : 2 * MAX_ORDER] = [max(0, len(report) - order) for order in range(MAX_ORDER)]
        statistics[row, MAX_ORDER : 2 * MAX_ORDER] *= len(words)
        statistics[row, -2:] = len(report) * len(words), num_words
    return reports[candidates[int(bleu_from_statistics(statistics)[:, MAX_ORDER - 1].argmax())][1]]


def best_by_macro_f1(reports: Sequence[str], label_report: LabelReport, uncertain_is_positive: bool = True) -> str:
    """The report whose findings, said of every patient, have the highest macro-F1; of equals the first by its text."""
    candidates = sorted(set(reports))
    labels_of = {report: label_report(report) for report in candidates}
    share = is_positive(np.array([labels_of[report] for report in reports]), uncertain_is_positive).mean(axis=0)
    said = is_positive(np.array([labels_of[report] for report in candidates]), uncertain_is_positive)
    # Said of all, a finding has precision p and recall 1, where p is the share of patients who have it.
    f1 = np.where(share > 0, said * 2 * share / (1 + share), np.nan)
    return candidates[int(np.nan_to_num(mean_of_defined(f1)).argmax())]
