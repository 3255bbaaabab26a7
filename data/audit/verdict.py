"""What an audit's document means for training, in words: each problem with its mend, and a headline.

An error makes a data set unfit: scores from it would lie, or training would break. A warning should be looked into; a
note is good to know.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from data.study import SPLITS
from vlm.schema.findings import FINDINGS

Severity = Literal["error", "warning", "note"]
SHOWN_NAMES = 3
PRIOR_SHARE, REJECTED_SHARE, LABEL_F1 = 0.02, 0.05, 0.8
"""From which shares (and below which F1) there is a warning."""
_ACROSS = "across splits"
_REMOVE = "remove them from all splits but one"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """`text` says what is wrong, `mend` what to do; `anchor` is the page's section with the details."""

    severity: Severity
    text: str
    mend: str
    anchor: str


def judge(document: dict[str, Any]) -> dict[str, Any]:
    """`ready`, `headline` and `problems`, the worst first."""
    problems = [
        *_splits(document),
        *_copies(document),
        *_images(document),
        *_reports(document),
        *_labels(document),
    ]
    problems.sort(key=lambda problem: ("error", "warning", "note").index(problem.severity))
    errors, warnings = (sum(one.severity == kind for one in problems) for kind in ("error", "warning"))
    if errors:
        headline = f"Not ready to train: {problems[0].text}"
    elif warnings:
        headline = f"Ready to train, but look at {_number(warnings, 'warning')} first"
    else:
        headline = "Ready to train"
    return {"ready": not errors, "headline": headline, "problems": [asdict(problem) for problem in problems]}


def _splits(document: dict[str, Any]):
    crossing = document["subjects_across_splits"]
    if crossing["count"]:
        names = _some([entry["subject_id"] for entry in crossing["listed"]], crossing["count"])
        yield Problem(
            severity="error",
            text=f"{_number(crossing['count'], 'patient')} in more than one split",
            mend=f"What is learned of a patient is then tested on the same patient. Prepare again with a subject id "
            f"for every study: {names}.",
            anchor="splits",
        )
    repeated = document["repeated_study_ids"]
    if repeated["count"]:
        names = _some([entry["study_id"] for entry in repeated["listed"]], repeated["count"])
        yield Problem(
            severity="error",
            text=f"{_number(repeated['count'], 'study id')} used by more than one study",
            mend=f"Predictions cannot be told apart; give each study an id of its own: {names}.",
            anchor="splits",
        )
    for split in SPLITS:
        if document["splits"].get(split, {}).get("studies"):
            continue
        purpose = {
            "train": "there is nothing to learn from",
            "validation": "no epoch, threshold or temperature can be chosen",
            "test": "nothing is left to judge the final model on",
        }
        yield Problem(
            severity="error" if split == "train" else "warning",
            text=f"the split {split} is empty",
            mend=f"So {purpose[split]}. Prepare again with --split-fractions that leave something for it.",
            anchor="splits",
        )
    rejected, kept = document["rejected"], sum(split["studies"] for split in document["splits"].values())
    if rejected["studies"] or rejected["images"]:
        share = rejected["studies"] / (kept + rejected["studies"])
        studies = _number(rejected["studies"], "study", "studies")
        images = f" and {_number(rejected['images'], 'single image')}" if rejected["images"] else ""
        yield Problem(
            severity="warning" if share >= REJECTED_SHARE else "note",
            text=f"{studies}{images} rejected when it was prepared",
            mend="The reasons are listed below; what can be mended at its source can be prepared again.",
            anchor="rejected",
        )
    if any(not entry["license"] for entry in document["sources"]):
        yield Problem(
            severity="note",
            text="studies without a licence",
            mend="Nobody can tell later what may be done with a model trained on them; name it with --license.",
            anchor="sources",
        )


def _images(document: dict[str, Any]):
    images = document["images"]
    for kind, severity, text, mend in (
        (
            "damaged",
            "error",
            "cannot be read",
            "Training would stop at them. Fetch the files again and prepare again; each is listed with the reason.",
        ),
        ("flat", "warning", "blank", "They show nothing; leave the studies out."),
        (
            "burned_in",
            "warning",
            "perhaps with text burned in",
            "Look at them: a name must not go into a data set, and a model may learn the writing. The detector errs.",
        ),
    ):
        if count := images[kind]["count"]:
            yield Problem(severity=severity, text=f"{_number(count, 'image')} {text}", mend=mend, anchor=kind)


def _copies(document: dict[str, Any]):
    images = document["images"]
    identical, altered, alike = (images[kind]["count"] for kind in ("identical", "altered", "alike"))
    if identical[_ACROSS]:
        yield Problem(
            severity="error",
            text=f"{_number(identical[_ACROSS], 'image')} in more than one split, pixel for pixel",
            mend=f"The test would ask for what was learned by heart; {_REMOVE}.",
            anchor="copies",
        )
    if altered[_ACROSS]:
        yield Problem(
            severity="warning",
            text=f"{_number(altered[_ACROSS], 'pair')} of altered copies across splits",
            mend=f"The same image encoded anew, resized or cropped. Look at them; where it is so, {_REMOVE}.",
            anchor="copies",
        )
    patients = identical["different patients"] + altered["different patients"]
    if patients:
        yield Problem(
            severity="warning",
            text=f"{_number(patients, 'image')} with copies under another patient's id",
            mend="One patient under two ids, or a file taken twice: a later split may put them apart.",
            anchor="copies",
        )
    own = sum(kind[relation] for kind in (identical, altered) for relation in ("same patient", "same study"))
    if own:
        yield Problem(
            severity="note",
            text=f"{_number(own, 'image')} with copies under the same patient's id",
            mend="They count more than others in training; remove all but one where that matters.",
            anchor="copies",
        )
    if total := sum(alike.values()):
        yield Problem(
            severity="note",
            text=f"{_number(total, 'pair')} of images so alike that they may be copies",
            mend=f"{alike[_ACROSS]} of them across splits. Schematic images and films of one patient can be so too.",
            anchor="copies",
        )


def _reports(document: dict[str, Any]):
    reports, splits = document["reports"], document["splits"].values()
    copied = {
        relation: reports["equal"]["count"][relation] + reports["near"]["count"][relation]
        for relation in ("across splits", "different patients")
    }
    if sum(copied.values()):
        yield Problem(
            severity="warning",
            text=f"{_number(sum(copied.values()), 'long report')} with nearly the same words as another patient's",
            mend=f"{copied[_ACROSS]} of them across splits. Reports of {reports['copy_from_words']} words and more are "
            "hardly ever equal by chance; look whether they were joined to the wrong studies.",
            anchor="reports",
        )
    if document["identities"]["count"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in document["identities"]["kinds"].items())
        number = _number(document["identities"]["count"], "study", "studies")
        yield Problem(
            severity="warning",
            text=f"{number} with text that may tell who somebody is",
            mend=f"Found: {kinds}. Prepare again; de-identification is on by default.",
            anchor="identities",
        )
    sentences, prior = (sum(split[name] for split in splits) for name in ("sentences", "prior_sentences"))
    if prior:
        yield Problem(
            severity="warning" if prior >= PRIOR_SHARE * sentences else "note",
            text=f"{_number(prior, 'sentence')} of reports ({_percent(prior, sentences)}) speak of a prior study",
            mend="A model that sees one study learns to invent comparisons from them; --drop-prior-sentences of "
            "data.prepare leaves them out.",
            anchor="reports",
        )


def _labels(document: dict[str, Any]):
    agreement, splits = document["labels_against_reports"], document["splits"]
    if agreement["micro_f1"] is not None and agreement["micro_f1"] < LABEL_F1:
        yield Problem(
            severity="warning",
            text=f"labels and reports disagree (micro-F1 {agreement['micro_f1']:.2f})",
            mend="Look at some studies: labels of other studies, a map with a mistake, or findings that the report "
            "does not name.",
            anchor="labels",
        )
    if not any(split["labelled"] or split["reports"] for split in splits.values()):
        yield Problem(
            severity="warning",
            text="there are neither labels nor reports",
            mend="Only train/pretrain.py can learn from it; to fine-tune, prepare with the columns that hold them.",
            anchor="findings",
        )
    train, test = (splits.get(split, {}).get("findings") for split in ("train", "test"))
    for findings, split, means in ((train, "train", "learned"), (test, "test", "judged")):
        if not findings or not splits[split]["labelled"]:
            continue
        without = [finding for finding in FINDINGS if not findings[finding]["positive"]]
        if without:
            yield Problem(
                severity="note",
                text=f"{_number(len(without), 'finding')} never positive in {split}",
                mend=f"They cannot be {means}: {', '.join(without)}.",
                anchor="findings",
            )


def _number(count: int, name: str, plural: str = "") -> str:
    return f"{count:,} {name if count == 1 else plural or name + 's'}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _some(names: list[str], count: int) -> str:
    more = f" and {count - SHOWN_NAMES} more" if count > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
