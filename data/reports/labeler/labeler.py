"""Reads the 14 findings from a report's text, by rules: report in, CheXbert's codes or line-by-line evidence out.

Each sentence is read from left to right (`data.reports.labeler.parser`) as a row of marks
(`data.reports.labeler.parser`; tables in
`data.reports.labeler.finding_patterns` and `data.reports.labeler.context_patterns`); then all mentions are put
together. Conventions, after CheXpert's
labeler (Irvin et al. 2019) unless said otherwise:

- over several mentions, positive > uncertain > negative > blank;
- "heart size is normal" denies Cardiomegaly, "mediastinal contours are normal" Enlarged Cardiomediastinum; the
  "cardiomediastinal silhouette" speaks for both, normal or enlarged; "borderline" is uncertain, "upper limits of
  normal" still normal;
- "lungs are clear" denies Lung Opacity and no other finding by name; "lungs are clear of X" denies X;
  "costophrenic angles are sharp" denies Pleural Effusion, "bones are intact" Fracture (CheXpert leaves these blank);
- an infiltrate or airspace disease is Lung Opacity, heart failure is Edema, vascular congestion makes Edema uncertain,
  a nodular opacity is Lung Lesion, collapse of lung is Atelectasis; a granuloma, a scar and a blunted angle are none;
- wires, clips and stents are Support Devices; a broken wire is no Fracture;
- "X or Y" leaves both open; "rule out X" and "X is not well seen" too; "no new X" denies X, "no change in X" states it;
- general words ("no acute cardiopulmonary abnormality") name no finding; what is only history, a condition ("if …") or
  the question asked is not a mention;
- No Finding is positive when no other finding but Support Devices is positive or uncertain, else blank. A text
  without a single letter says nothing: all blank.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from data.reports.labeler.parser import Mention, read_sentence
from data.reports.sections import split_sections
from vlm.schema.findings import BLANK, FINDING_INDEX, NEGATIVE, NUM_FINDINGS, POSITIVE, UNCERTAIN

_BELIEF = {POSITIVE: 3, UNCERTAIN: 2, NEGATIVE: 1, BLANK: 0}
_NO_FINDING, _SUPPORT_DEVICES = FINDING_INDEX["No Finding"], FINDING_INDEX["Support Devices"]
_LONGEST_CACHED_SENTENCE = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One mention of a finding: its state there, the sentence it stands in and the words that decided."""

    finding: str
    state: int
    sentence: str
    words: str


def label_report(text: str) -> tuple[int, ...]:
    """The state of each of FINDINGS in a report; headings are followed, indication and comparison are not read."""
    labels = [BLANK] * NUM_FINDINGS
    for sentence in _sentences(text):
        for mention in _mentions(sentence):
            for finding in mention.findings:
                index = FINDING_INDEX[finding]
                if _BELIEF[mention.state] > _BELIEF[labels[index]]:
                    labels[index] = mention.state
    return with_no_finding(labels, text)


def explain_report(text: str) -> list[Evidence]:
    """Every mention that `label_report` counts, in order of the text; for No Finding, that nothing else was found."""
    evidence = [
        Evidence(finding=finding, state=mention.state, sentence=sentence, words=mention.words)
        for sentence in _sentences(text)
        for mention in _mentions(sentence)
        for finding in mention.findings
    ]
    if label_report(text)[_NO_FINDING] == POSITIVE:
        words = "no finding is stated or suspected"
        evidence.append(Evidence(finding="No Finding", state=POSITIVE, sentence="", words=words))
    return evidence


def with_no_finding(labels: list[int], text: str) -> tuple[int, ...]:
    """The labels of a text with the state of No Finding that follows from the others."""
    found = (
        state in (POSITIVE, UNCERTAIN)
        for finding, state in enumerate(labels)
        if finding not in (_NO_FINDING, _SUPPORT_DEVICES)
    )
    labels[_NO_FINDING] = POSITIVE if not any(found) and re.search(r"[^\W\d_]", text) else BLANK
    return tuple(labels)


_SENTENCE_END = re.compile(
    # Blanks behind a full stop; a capital right behind one; a list's next item.
    r"\s(?<=[.;!?]\s)(?<!\bvs\.\s)(?<!\s\?\s)(?<!^\?\s)\s*|(?<=[a-z)]\.)(?=[A-Z])|\n\s*(?=\n|[-*•]|\d+[.)])|"
    r"\s(?=\d{1,2}\. [A-Z])|"
    # A new line with a capital, unless the line before has to go on.
    r"\n(?=[A-Z][a-z])(?<![,&/-]\n)(?<!\band\n)(?<!\bor\n)(?<!\b[Nn]o\n)(?<!\bof\n)(?<!\bthe\n)(?<!\bwith\n)(?<!\bin\n)"
)


_MAY_HAVE_HEADINGS = re.compile(r"[:：–—]|- |\b(?!X+\b)[A-Z]{3,}|[^.,;!?\s]\s*(?:\n|$)|\n\s*\n")
"""A heading has a colon, a dash, capitals or a line of its own. Most texts have none: looking further takes longest."""


def _described(text: str) -> list[str]:
    """The parts of a report that describe the image."""
    if not _MAY_HAVE_HEADINGS.search(text):
        return [text]
    sections = split_sections(text)
    described = [section for section in (sections.findings, sections.impression) if section]
    if not described:
        # No heading tells where indication or comparison ends: give up its first sentence only.
        described = [
            rest
            for section in (sections.indication, sections.comparison, sections.other)
            for rest in _SENTENCE_END.split(section, maxsplit=1)[1:]
        ]
    return described


def _sentences(text: str) -> Iterator[str]:
    """The sentences that describe the image, spaces made single."""
    for section in _described(text):
        for sentence in _SENTENCE_END.split(section):
            if sentence.strip():
                yield " ".join(sentence.split())


_read_cached = lru_cache(maxsize=8192)(read_sentence)


def _mentions(sentence: str) -> list[Mention]:
    """Long sentences are not kept in the cache: they hardly come twice."""
    return (_read_cached if len(sentence) <= _LONGEST_CACHED_SENTENCE else read_sentence)(sentence)
