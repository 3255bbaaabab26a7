"""Label the 14 findings of a report by rules: report text in, CheXbert's codes or the evidence for each mention out.

`parser` reads each sentence from left to right with the tables of `finding_patterns` and `context_patterns`; then the
mentions of all sentences are combined. The conventions follow CheXpert's labeler (Irvin et al. 2019) unless stated
otherwise:

- over several mentions, positive > uncertain > negative > blank;
- "heart size is normal" denies Cardiomegaly, "mediastinal contours are normal" denies Enlarged Cardiomediastinum; the
  "cardiomediastinal silhouette" decides both, normal or enlarged; "borderline" is uncertain, "upper limits of normal"
  is normal;
- "lungs are clear" denies Lung Opacity and no other finding; "lungs are clear of X" denies X; "costophrenic angles are
  sharp" denies Pleural Effusion and "bones are intact" denies Fracture (CheXpert leaves both blank);
- an infiltrate or airspace disease is Lung Opacity, heart failure is Edema, vascular congestion makes Edema uncertain,
  a nodular opacity is Lung Lesion, collapse of a lung is Atelectasis; granulomas, scars and blunted angles are not
  findings;
- wires, clips and stents are Support Devices; a broken wire is not a Fracture;
- "X or Y" makes both uncertain; so do "rule out X" and "X is not well seen"; "no new X" denies X, "no change in X"
  asserts it;
- general statements ("no acute cardiopulmonary abnormality") do not mention a finding; history, conditions ("if …")
  and the clinical question do not count;
- No Finding is positive if no other finding except Support Devices is positive or uncertain, and at least one sentence
  is about the chest (`chest_statements`); otherwise blank;
- sentences that are not English are not read."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from data.reports.labeler.chest_statements import states_chest
from data.reports.labeler.context_patterns import ELLIPSES
from data.reports.labeler.forms import box_statements, has_boxes, write_out, write_out_sides
from data.reports.labeler.parser import Mention, read_sentence
from data.reports.language import is_foreign
from data.reports.plain_text import join_lines, plain_text
from data.reports.sections import split_sections
from vlm.schema.findings import BLANK, FINDING_INDEX, NEGATIVE, NUM_FINDINGS, POSITIVE, UNCERTAIN

_BELIEF = {POSITIVE: 3, UNCERTAIN: 2, NEGATIVE: 1, BLANK: 0}
_NO_FINDING, _SUPPORT_DEVICES = FINDING_INDEX["No Finding"], FINDING_INDEX["Support Devices"]
_LONGEST_CACHED_SENTENCE = 400
TEXTS_KEPT = 2**15
"""Texts whose sentences and labels are kept: reports are read again for their severities, changes and errors, and
single sentences recur."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One mention of a finding: its state, its sentence and the words that decided the state."""

    finding: str
    state: int
    sentence: str
    words: str


@lru_cache(maxsize=TEXTS_KEPT)
def label_report(text: str) -> tuple[int, ...]:
    """The state of each of FINDINGS in a report. Headings are followed; indication and comparison are not read."""
    return label_sections(text)


def label_sections(*texts: str) -> tuple[int, ...]:
    """The state of each of FINDINGS in the sections of a report. The end of a section ends its last sentence."""
    labels = [BLANK] * NUM_FINDINGS
    sentences = [sentence for text in texts for sentence in described_sentences(text)]
    for sentence in sentences:
        for mention in sentence_mentions(sentence):
            for finding in mention.findings:
                index = FINDING_INDEX[finding]
                if _BELIEF[mention.state] > _BELIEF[labels[index]]:
                    labels[index] = mention.state
    return with_no_finding(labels, lambda: any(map(speaks_of_chest, sentences)))


def explain_report(text: str) -> list[Evidence]:
    """Every mention that `label_report` counts, in the order of the text, and the reason for No Finding."""
    evidence = [
        Evidence(finding=finding, state=mention.state, sentence=sentence, words=mention.words)
        for sentence in described_sentences(text)
        for mention in sentence_mentions(sentence)
        for finding in mention.findings
    ]
    if label_report(text)[_NO_FINDING] == POSITIVE:
        words = "no finding is stated or suspected"
        evidence.append(Evidence(finding="No Finding", state=POSITIVE, sentence="", words=words))
    return evidence


def with_no_finding(labels: list[int], is_about_chest: Callable[[], bool] = lambda: True) -> tuple[int, ...]:
    """The labels with the state of No Finding, which follows from the other labels. `is_about_chest` is called if these
    leave it open: a report that says nothing about the chest is blank."""
    others = {state for finding, state in enumerate(labels) if finding not in (_NO_FINDING, _SUPPORT_DEVICES)}
    is_normal = others.isdisjoint((POSITIVE, UNCERTAIN)) and is_about_chest()
    labels[_NO_FINDING] = POSITIVE if is_normal else BLANK
    return tuple(labels)


_SENTENCE_END = re.compile(
    # Spaces after a full stop, a capital letter directly after one, or the next list item.
    r"\s(?<=[.;!?]\s)(?<!\bvs\.\s)(?<!\s\?\s)(?<!^\?\s)\s*|(?<=[a-z)]\.)(?=[A-Z])|\s(?=\d{1,2}\. [A-Z])|\s(?=[•▪‣] )"
)
CONTINUES_LAST = re.compile(
    r"(?:(?:on|in|at) (?:the )?(?:left|right|other|opposite)(?: side)?, )?(?:an?|the) (?:[\w-]+ ){0,3}one\b|"
    rf"(?:that|those)(?= on)|{'|'.join(ELLIPSES)}",
    re.IGNORECASE,
)
"""A sentence about the finding of the last one: "A tiny one remains on the right."."""


_MAY_HAVE_HEADINGS = re.compile(r"[:：–—]|- |\b(?!X+\b)[A-Z]{3,}|[^.,;!?\s]\s*(?:\n|$)|\n\s*\n")
"""A heading has a colon, a dash, capitals or its own line. A text without any of these skips the slow search."""


def _described(text: str) -> list[str]:
    """The parts of a report that describe the image."""
    if not _MAY_HAVE_HEADINGS.search(text):
        return [text]
    sections = split_sections(text)
    described = [section for section in (sections.findings, sections.impression) if section]
    if not described:
        # No heading marks the end of indication or comparison: skip only its first sentence.
        described = [
            rest
            for section in (sections.indication, sections.comparison, sections.other)
            for rest in _SENTENCE_END.split(section, maxsplit=1)[1:]
        ]
    return described


@lru_cache(maxsize=TEXTS_KEPT)
def described_sentences(text: str) -> tuple[str, ...]:
    """The sentences that describe the image, with single spaces."""
    sentences: list[str] = []
    for section in _described(plain_text(text)):
        own: list[str] = []
        section = write_out(join_lines(section))
        for sentence in _SENTENCE_END.split(section):
            sentence = write_out_sides(sentence.strip())
            if own and CONTINUES_LAST.match(sentence):
                own[-1] = f"{own[-1].rstrip('.;')}; {sentence}"
            elif sentence:
                own.append(sentence)
        if has_boxes(section):
            own = [statement for sentence in own for statement in box_statements(sentence)]
        sentences += own
    return tuple(sentences)


def _read_english(sentence: str) -> list[Mention]:
    return [] if is_foreign(sentence) else read_sentence(sentence)


_read_cached = lru_cache(maxsize=TEXTS_KEPT)(_read_english)


def sentence_mentions(sentence: str) -> list[Mention]:
    """The mentions in a sentence; long sentences, which rarely repeat, are not cached."""
    return (_read_cached if len(sentence) <= _LONGEST_CACHED_SENTENCE else _read_english)(sentence)


def speaks_of_chest(sentence: str) -> bool:
    has_mention = any(mention.findings for mention in sentence_mentions(sentence))
    return states_chest(sentence, has_mention=has_mention) and not is_foreign(sentence)
