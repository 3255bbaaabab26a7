"""Does the report error score put candidate reports in the order in which a radiologist would mind their errors?

    python -m bench.error_orders                 right orders and Kendall's tau-b of each score
    python -m bench.error_orders --show          the orders that the report error score has wrong
    python -m bench.error_orders --speed         reports a second, on one core

Two sets of candidates with known order. `error_orders.txt` has invented reports, ordered by hand. The other set is made
from Indiana reports of the train split (not part of this repository; without it this set is skipped): sentences are
removed, added or changed, so that the harm of each candidate is known from the change. Only there harms of different
references can be compared, so tau-b over all candidates counts for that set. The score was developed on both sets: they
show whether it works as meant, not how well it agrees with radiologists."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from data.cli import run_main
from data.reports.labeler.labeler import label_report
from data.reports.sentences import split_sentences
from eval.metrics.bleu import bleu
from eval.metrics.errors import report_errors
from eval.metrics.laterality import stated_findings
from eval.metrics.rouge import rouge_l
from vlm.schema.findings import FINDINGS
from vlm.schema.report_format import compose_report

INVENTED = Path(__file__).parent / "error_orders.txt"
REPORTS = Path(__file__).parents[1] / "../shared/data/iu_text/reports.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderOptions:
    """Orders of candidates by the report error score and by other scores."""

    reports: Path = REPORTS
    """The Indiana reports, one JSON object per line."""
    num_references: int = 60
    """Reference reports taken from the train split."""
    show: bool = False
    """Print the orders that the report error score has wrong."""
    speed: bool = False
    """Measure reports per second on the train split instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A reference and its candidates; `harms`: a greater number is more harmful."""

    title: str
    reference: str
    candidates: tuple[str, ...]
    harms: tuple[float, ...]


def invented_groups() -> list[Group]:
    groups = []
    for block in INVENTED.read_text(encoding="utf-8").split("\n\n")[1:]:
        title, reference, *lines = block.strip().split("\n")
        ranked = [line.split(" ", 1) for line in lines]
        groups.append(
            Group(
                title=title.removeprefix("# "),
                reference=reference,
                candidates=tuple(candidate for _, candidate in ranked),
                harms=tuple(float(rank) for rank, _ in ranked),
            )
        )
    return groups


GRAVITY = {
    "Pneumothorax": 1.0, "Edema": 0.5, "Consolidation": 0.5, "Pneumonia": 0.5, "Lung Lesion": 0.5, "Lung Opacity": 0.5,
    "Pleural Effusion": 0.5, "Fracture": 0.5, "Enlarged Cardiomediastinum": 0.3, "Cardiomegaly": 0.3,
    "Atelectasis": 0.3,
    "Pleural Other": 0.2, "Support Devices": 0.2,
}  # fmt: skip
"""Harm of leaving a finding out of a real report. Set by hand, apart from the tables of the score."""
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_DEGREE = re.compile(
    r"\b(mild(?:ly)?|small|minimal(?:ly)?|severe(?:ly)?|large)\b(?! (?:increas|decreas|improve|volume))", re.IGNORECASE
)
_OTHER_DEGREE = {"mild": "severe", "mildly": "severely", "small": "large", "minimal": "severe", "minimally": "severely",
                 "severe": "mild", "severely": "mildly", "large": "small"}  # fmt: skip
_OTHER_SIDE = {"left": "right", "right": "left"}
_NORMAL = re.compile(
    r"(?:there (?:is|are) )?no\b(?! longer)|[\w ,]{1,60} (?:normal|clear|unremarkable)\b", re.IGNORECASE
)
_CHRONIC = re.compile(r"\b(?:calcified|granuloma\w*|old|healed|chronic|scar\w*|degenerative)\b", re.IGNORECASE)
FALSE_FINDINGS = (
    ("There are mild degenerative changes of the thoracic spine.", r"degenerat|spondyl|spine|osteophyt", 0.05),
    ("There is mild atelectasis in the left lung base.", r"atelecta|base|basilar", 0.3),
    ("There is a large right pneumothorax.", r"pneumothora", 1.0),
)
"""Sentence to add, words after which it would be no error, harm."""


def derived_groups(reports: Path, num_references: int) -> list[Group]:
    """Candidates made from real reports of the train split, two thirds of them with findings."""
    groups: list[Group] = []
    num_normal = 0
    for line in reports.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != "train" or not row["findings"] or not row["impression"] or "XXXX" in row["findings"]:
            continue
        reference = compose_report(findings=row["findings"], impression=row["impression"])
        is_normal = not stated_findings(label_report(reference))
        if is_normal and num_normal >= num_references // 3:
            continue
        num_normal += is_normal
        groups.append(_group_of(row["id"], row["findings"], row["impression"], reference))
        if len(groups) == num_references:
            break
    return groups


def _group_of(title: str, findings: str, impression: str, reference: str) -> Group:
    sentences = split_sentences(findings), split_sentences(impression)
    candidates = dict(_candidates(*sentences, reference))
    return Group(title=title, reference=reference, candidates=tuple(candidates), harms=tuple(candidates.values()))


def _candidates(findings: list[str], impression: list[str], reference: str) -> Iterator[tuple[str, float]]:
    """Each candidate report with its harm."""

    def written(kept: Sequence[str], concluded: Sequence[str] = impression) -> str:
        return compose_report(findings=" ".join(kept), impression=" ".join(concluded))

    stated = {sentence: _gravity(sentence) for sentence in [*findings, *impression]}
    yield written(findings[::-1]), 0.0
    normal = [sentence for sentence in findings if not stated[sentence] and _NORMAL.match(sentence)]
    if len(normal) > 1:
        yield written([sentence for sentence in findings if sentence != normal[0]]), 0.0
    for addition, words, harm in FALSE_FINDINGS:
        if not re.search(words, reference, re.IGNORECASE):
            yield written([*findings, addition]), harm
    for sentence in findings:
        if stated[sentence] <= GRAVITY["Support Devices"] or _CHRONIC.search(sentence):
            continue
        if len(_SIDE.findall(sentence)) == 1:
            swapped = [_swapped(one, sentence) for one in (findings, impression)]
            yield written(*swapped), 0.8 * stated[sentence]
        if len(_DEGREE.findall(sentence)) == 1:
            changed = _DEGREE.sub(lambda word: _OTHER_DEGREE[word.group().lower()], sentence)
            yield (
                written([changed if one == sentence else one for one in findings], _plain(impression, stated)),
                0.35 * stated[sentence] + 0.05,
            )
    if any(stated.values()):
        left_out = [sentence for sentence in findings if not stated[sentence]]
        yield written(left_out, ["No acute cardiopulmonary abnormality."]), _gravity(reference)


def _plain(impression: list[str], stated: dict[str, float]) -> list[str]:
    """The impression without the sentences that state a finding, which would still tell its degree."""
    return [sentence for sentence in impression if not stated[sentence]] or impression


def _swapped(sentences: list[str], changed: str) -> list[str]:
    """Sentences with the other side, where they state the same findings as the changed one."""
    findings = stated_findings(label_report(changed))
    return [
        _SIDE.sub(lambda word: _OTHER_SIDE[word.group().lower()], sentence)
        if set(stated_findings(label_report(sentence))) & set(findings)
        else sentence
        for sentence in sentences
    ]


def _gravity(text: str) -> float:
    """Harm of leaving the findings of a text out; what is chronic does not count."""
    recent = " ".join(sentence for sentence in split_sentences(text) if not _CHRONIC.search(sentence))
    return sum(GRAVITY[FINDINGS[finding]] for finding in stated_findings(label_report(recent)))


Score = Callable[[str, str], float]


def finding_f1(candidate: str, reference: str) -> float:
    """F1 of the stated findings of one study; 1 if neither report states any."""
    own, true = (set(stated_findings(label_report(text))) for text in (candidate, reference))
    return 2 * len(own & true) / (len(own) + len(true)) if own or true else 1.0


SCORES: dict[str, Score] = {
    "report error score": lambda candidate, reference: report_errors(candidate, reference).score,
    "finding F1 (14)": finding_f1,
    "BLEU-4": lambda candidate, reference: float(bleu([candidate], [reference]).score[3]),
    "ROUGE-L": lambda candidate, reference: float(rouge_l([candidate], [reference]).score),
}
MIN_DIFFERENCE = 0.04


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Pairs of candidates of one group with different harm; `wrong` has the pairs as (group, better, worse)."""

    num_pairs: int
    num_right: int
    num_tied: int
    tau: float
    pooled_tau: float
    wrong: tuple[tuple[Group, int, int], ...]


def count_orders(groups: Sequence[Group], score: Score) -> Orders:
    """Kendall's tau-b between score and harm: `tau` is the mean over groups, `pooled_tau` is over all candidates."""
    num_pairs = num_right = num_tied = 0
    wrong, taus, all_values, all_harms = [], [], [], []
    for group in groups:
        values = [score(candidate, group.reference) for candidate in group.candidates]
        taus.append(kendalltau(values, [-harm for harm in group.harms]).statistic)
        all_values += values
        all_harms += [-harm for harm in group.harms]
        for one, other in combinations(range(len(values)), 2):
            if abs(group.harms[one] - group.harms[other]) < MIN_DIFFERENCE:
                continue
            better, worse = (one, other) if group.harms[one] < group.harms[other] else (other, one)
            num_pairs += 1
            num_right += values[better] > values[worse]
            num_tied += values[better] == values[worse]
            if values[better] <= values[worse]:
                wrong.append((group, better, worse))
    mean_tau = float(np.nanmean(taus)) if taus else float("nan")
    return Orders(
        num_pairs=num_pairs,
        num_right=num_right,
        num_tied=num_tied,
        tau=mean_tau,
        pooled_tau=float(kendalltau(all_values, all_harms).statistic),
        wrong=tuple(wrong),
    )


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Orders]]:
    """Run the program; return the orders by set and score."""
    options = tyro.cli(OrderOptions, args=argv, description=__doc__)
    console = Console(width=120)
    if options.speed:
        _measure_speed(console, options.reports)
        return {}
    sets = {"invented": invented_groups()}
    if options.reports.is_file():
        sets["made from train reports"] = derived_groups(options.reports, options.num_references)
    else:
        console.print(f"{options.reports} is not there: the set made from real reports is skipped")
    found = {}
    for name, groups in sets.items():
        found[name] = {title: count_orders(groups, score) for title, score in SCORES.items()}
        console.print(_table(name, groups, found[name]))
        if options.show:
            for group, better, worse in found[name]["report error score"].wrong:
                _print_wrong(console, group, better, worse)
    return found


def _table(name: str, groups: Sequence[Group], orders: dict[str, Orders]) -> Table:
    num_candidates = sum(len(group.candidates) for group in groups)
    table = Table(title=f"{name}: {len(groups)} references, {num_candidates} candidates")
    for title in ("score", "right orders", "tied", "tau-b, mean over references", "tau-b, all candidates"):
        table.add_column(title, justify="left" if title == "score" else "right")
    for title, one in orders.items():
        table.add_row(
            title, f"{one.num_right} of {one.num_pairs}", str(one.num_tied), f"{one.tau:.3f}", f"{one.pooled_tau:.3f}"
        )
    return table


def _print_wrong(console: Console, group: Group, better: int, worse: int) -> None:
    console.print(f"\n{group.title}: {group.reference}", markup=False, highlight=False)
    for candidate in (better, worse):
        found = report_errors(group.candidates[candidate], group.reference)
        console.print(f"  {found.score:.3f} {group.candidates[candidate]}", markup=False, highlight=False)
        for error in found.errors:
            console.print(f"        {error.harm:.2f} {error.words}", markup=False, highlight=False)


def _measure_speed(console: Console, reports: Path) -> None:
    rows = [json.loads(line) for line in reports.read_text(encoding="utf-8").splitlines()]
    texts = [
        compose_report(findings=row["findings"], impression=row["impression"])
        for row in rows
        if row["split"] == "train"
    ]
    start = time.process_time()
    for candidate, reference in zip(texts, texts[1:] + texts[:1], strict=True):
        report_errors(candidate, reference)
    console.print(
        f"{len(texts) / (time.process_time() - start):.0f} reports a second of processor time, of "
        f"{len(texts)} pairs; nothing is cached at the start"
    )


if __name__ == "__main__":
    run_main(main)
