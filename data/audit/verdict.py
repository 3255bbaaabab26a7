"""Verdict of an audit: each problem with its fix, and a headline.

An error means that the data set cannot be used: results would be wrong, or training would crash. A warning should be
checked. A note is for information.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from data.reports.readability import ENGLISH_ONLY
from data.study import SPLITS
from vlm.schema.findings import FINDINGS
from vlm.schema.number_format import format_count, format_percent

Severity = Literal["error", "warning", "note"]
SHOWN_NAMES = 3
PRIOR_SHARE, REJECTED_SHARE, LABEL_F1, MOST = 0.02, 0.05, 0.8, 0.5
"""A warning is given from these shares on, and below this F1."""
_ACROSS = "across splits"
_EMPTY_SPLIT = {
    "train": "There is nothing to train on.",
    "validation": "No epoch, threshold or temperature can be chosen.",
    "test": "The final model cannot be evaluated.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong (`text`), and what to do (`fix`). `anchor` is the section of the page with the details."""

    severity: Severity
    anchor: str
    text: str
    fix: str


def judge(document: dict[str, Any]) -> dict[str, Any]:
    """`ready`, `headline` and `problems`, the worst first."""
    checks = (_splits, _rejected, _copies, _priors, _images, _reports, _labels)
    problems = [problem for check in checks for problem in check(document)]
    problems.sort(key=lambda problem: ("error", "warning", "note").index(problem.severity))
    errors, warnings = (sum(one.severity == kind for one in problems) for kind in ("error", "warning"))
    if errors:
        headline = f"Not ready to train: {problems[0].text}"
    elif warnings:
        headline = f"Ready to train, but check {format_count(warnings, 'warning')} first"
    else:
        headline = "Ready to train"
    return {"ready": not errors, "headline": headline, "problems": [asdict(problem) for problem in problems]}


def _splits(document: dict[str, Any]) -> Iterator[Problem]:
    crossing, repeated = document["subjects_across_splits"], document["repeated_study_ids"]
    if crossing["count"]:
        text = f"{format_count(crossing['count'], 'patient')} in more than one split"
        names = _first_names([entry["subject_id"] for entry in crossing["listed"]], crossing["count"])
        fix = f"The model would be tested on patients it was trained on. Prepare again with subject ids: {names}."
        yield Problem("error", "splits", text, fix)
    if repeated["count"]:
        text = f"{format_count(repeated['count'], 'study id')} used by more than one study"
        names = _first_names([entry["study_id"] for entry in repeated["listed"]], repeated["count"])
        yield Problem("error", "splits", text, f"Predictions are matched by id; give each study its own id: {names}.")
    for split in SPLITS:
        if not document["splits"].get(split, {}).get("studies"):
            severity = "error" if split == "train" else "warning"
            fix = f"{_EMPTY_SPLIT[split]} Prepare again with --split-fractions that include this split."
            yield Problem(severity, "splits", f"the split {split} is empty", fix)
    if any(not entry["license"] for entry in document["sources"]):
        fix = "A trained model may only be used as the license allows; set it with --license."
        yield Problem("note", "sources", "studies without a license", fix)


def _rejected(document: dict[str, Any]) -> Iterator[Problem]:
    studies, images = document["rejected"]["studies"], document["rejected"]["images"]
    if studies or images:
        kept = sum(split["studies"] for split in document["splits"].values())
        severity = "warning" if studies / (kept + studies) >= REJECTED_SHARE else "note"
        text = format_count(studies, "study", "studies")
        text += f" and {format_count(images, 'single image')}" if images else ""
        fix = "The reasons are listed below. Fix the source files where possible, and prepare again."
        yield Problem(severity, "rejected", f"{text} rejected by data.prepare", fix)


def _images(document: dict[str, Any]) -> Iterator[Problem]:
    fixes = {
        "damaged": (
            "error",
            "that cannot be read",
            "Training would stop at them. Download the files again and prepare again; the reasons are listed below.",
        ),
        "blank": ("warning", "without visible content", "Remove these studies."),
        "burned_in": (
            "warning",
            "with possible burned-in text",
            "Check them: images must not contain names, and a model may learn the text. The detector makes mistakes.",
        ),
    }
    for kind, (severity, text, fix) in fixes.items():
        if count := document["images"][kind]["count"]:
            yield Problem(severity, kind, f"{format_count(count, 'image')} {text}", fix)


def _copies(document: dict[str, Any]) -> Iterator[Problem]:
    identical, altered, similar = (document["images"][kind]["count"] for kind in ("identical", "altered", "similar"))
    if count := identical[_ACROSS]:
        text = f"{format_count(count, 'image')} in more than one split, with identical pixels"
        fix = "The model would be tested on images it was trained on; keep them in one split only."
        yield Problem("error", "copies", text, fix)
    if count := altered[_ACROSS]:
        text = f"{format_count(count, 'pair')} of altered copies across splits"
        fix = "They look like one image, encoded again, resized or cropped. Check them; keep copies in one split only."
        yield Problem("warning", "copies", text, fix)
    if count := identical["different patients"] + altered["different patients"]:
        text = f"{format_count(count, 'image')} with copies under another patient's id"
        fix = "One patient may have two ids, or one file was used twice. A later split may separate the copies."
        yield Problem("warning", "copies", text, fix)
    if count := sum(kind[relation] for kind in (identical, altered) for relation in ("same patient", "same study")):
        text = f"{format_count(count, 'image')} with copies under the same patient's id"
        yield Problem("note", "copies", text, "They have more weight in training; remove all but one if that matters.")
    if count := sum(similar.values()):
        text = f"{format_count(count, 'pair')} of similar images that may be copies"
        fix = f"{similar[_ACROSS]:,} across splits. Phantoms and images of one patient can also be this similar."
        yield Problem("note", "copies", text, fix)


def _priors(document: dict[str, Any]) -> Iterator[Problem]:
    across, same = document["priors"]["across_splits"]["count"], document["priors"]["same_image"]["count"]
    if across:
        text = f"{format_count(across, 'prior study', 'prior studies')} with an image of another split"
        fix = "The model would be tested on images it was trained on. A prior study must be of the same split."
        yield Problem("error", "priors", text, fix)
    if same:
        text = f"{format_count(same, 'prior study', 'prior studies')} with an image of the study itself"
        fix = "Nothing can have changed between equal images. Prepare again with the right dates or prior study ids."
        yield Problem("error", "priors", text, fix)


def _reports(document: dict[str, Any]) -> Iterator[Problem]:
    reports, splits, identifiers = document["reports"], document["splits"].values(), document["identifiers"]
    equal, near = reports["equal"]["count"], reports["near"]["count"]
    across = equal[_ACROSS] + near[_ACROSS]
    if count := across + equal["different patients"] + near["different patients"]:
        text = f"{format_count(count, 'long report')} with nearly the same words as another patient's"
        fix = (
            f"{across:,} across splits. Reports with {reports['copy_from_words']} or more words are rarely equal by "
            "chance; check that each belongs to its study."
        )
        yield Problem("warning", "reports", text, fix)
    if count := identifiers["count"]:
        kinds = ", ".join(f"{kind} {number}" for kind, number in identifiers["kinds"].items())
        text = f"{format_count(count, 'study', 'studies')} with text that may identify a person"
        fix = f"Found: {kinds}. Prepare again; de-identification is on by default."
        yield Problem("warning", "identifiers", text, fix)
    problems = sum((Counter(split["reading_problems"]) for split in splits), Counter())
    num_reports = sum(split["reports"] for split in splits)
    for problem, count in problems.items():
        severity = "warning" if count > MOST * num_reports else "note"
        text = f"{format_count(count, 'report')} of {num_reports:,} {problem}"
        yield Problem(severity, "reports", text, f"{ENGLISH_ONLY} Read some of them, and check their labels.")
    sentences, prior = (sum(split[name] for split in splits) for name in ("sentences", "prior_sentences"))
    if prior:
        severity = "warning" if prior >= PRIOR_SHARE * sentences else "note"
        share = format_percent(prior / sentences)
        text = f"{format_count(prior, 'sentence')} of reports ({share}) about a prior study that is not given"
        fix = (
            "A model that sees one study learns to invent comparisons from them. Give the prior studies "
            "(--with-priors), or remove the sentences (--drop-prior-sentences of data.prepare)."
        )
        yield Problem(severity, "reports", text, fix)


def _labels(document: dict[str, Any]) -> Iterator[Problem]:
    micro_f1, splits = document["label_agreement"]["micro_f1"], document["splits"]
    if micro_f1 is not None and micro_f1 < LABEL_F1:
        text = f"labels and reports disagree (micro-F1 {micro_f1:.2f})"
        fix = (
            "Check some studies: the labels may belong to other studies, the label map may have a mistake, or the "
            "report may not mention the finding."
        )
        yield Problem("warning", "labels", text, fix)
    if not any(split["labeled"] or split["reports"] for split in splits.values()):
        fix = "Only train/pretrain.py can use it. To fine-tune, prepare it again with the columns that hold them."
        yield Problem("warning", "findings", "there are neither labels nor reports", fix)
    for split, purpose in (("train", "learned"), ("test", "evaluated")):
        if not splits.get(split, {}).get("labeled"):
            continue
        findings = splits[split]["findings"]
        without = [finding for finding in FINDINGS if not findings[finding]["positive"]]
        if without:
            text = f"{format_count(len(without), 'finding')} never positive in {split}"
            yield Problem("note", "findings", text, f"They cannot be {purpose}: {', '.join(without)}.")


def _first_names(names: list[str], count: int) -> str:
    more = f" and {count - SHOWN_NAMES} more" if count > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
