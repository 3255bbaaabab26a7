"""The words of a report that text metrics compare, under a name that is printed with every score.

Scores move with case, headings and punctuation, so two figures can be held against each other only under the same
normalisation. `r2gen` is what most published figures on Indiana (IU X-Ray) reports rest on: full stops are words
there. Many also pass the references through a vocabulary: see eval/reference_vocabulary.py.
"""

import re
import string
from collections.abc import Callable

from vlm.schema.report_format import report_body

UNKNOWN_WORD = "<unk>"
_WORD = re.compile(r"\d+\.\d+|[^\W_]+")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# R2Gen wrote `:-[` in its set of characters, which also means ;<=>?@ and A to Z. <unk> is no report's but a model's.
_R2GEN_DROPPED = re.compile(rf"({UNKNOWN_WORD})|[.,?;*!%^&_+():-\[\]{{}}\"/\\']")


def _plain(report: str) -> str:
    return " ".join(_WORD.findall(report_body(report).lower()))


def _none(report: str) -> str:
    return " ".join(report.split())


def _lowercase(report: str) -> str:
    return _none(report.lower())


def _no_punctuation(report: str) -> str:
    return _none(report.lower().translate(_NO_PUNCTUATION))


def _r2gen(report: str) -> str:
    """cuhksz-nlp/R2Gen, modules/tokenizers.py, clean_report_iu_xray; the same for text that went through it before."""
    given = _none(report)
    if not given:
        return ""
    cleaned = _r2gen_sentences(report)
    # A report that a model wrote in such words and did not finish has no full stop to be given.
    return given if f"{given} ." == cleaned and " . " in given else cleaned


def _r2gen_mimic(report: str) -> str:
    """clean_report_mimic_cxr of the same file, which also joins lines, runs of spaces and of underscores."""
    return _r2gen(re.sub(r" +", " ", re.sub(r"_+", "_", report.replace("\n", " "))))


def _r2gen_sentences(report: str) -> str:
    text = re.sub(r"\.+", ".", report).replace("1. ", "")
    for before in (". ", " "):
        for number in "2345":
            text = text.replace(f"{before}{number}. ", ". ")
    sentences = [_R2GEN_DROPPED.sub(r"\1", sentence) for sentence in text.strip().lower().split(". ")]
    return _none(" . ".join(sentences) + " .")


NORMALIZATIONS: dict[str, Callable[[str], str]] = {
    "plain": _plain,
    "none": _none,
    "lowercase": _lowercase,
    "no_punctuation": _no_punctuation,
    "r2gen": _r2gen,
    "r2gen_mimic": _r2gen_mimic,
}
DESCRIPTIONS = {
    "plain": "headings dropped, lower case, punctuation and ___ to spaces, decimals kept",
    "none": "the text as given, split at white space",
    "lowercase": "lower case, split at white space; headings and punctuation stay",
    "no_punctuation": "lower case, every ASCII punctuation mark deleted (x-ray becomes xray); headings stay",
    "r2gen": "as R2Gen for Indiana (IU X-Ray): lower case, list numbers and punctuation but - deleted, "
    "a full stop is a word",
    "r2gen_mimic": "as R2Gen for MIMIC-CXR: like r2gen, with line ends and runs of _ and spaces joined first",
}
DEFAULT_NORMALIZATION = "plain"
_ENDS_WITH_FULL_STOP = frozenset({"r2gen", "r2gen_mimic"})


def normalize_report(report: str, normalization: str = DEFAULT_NORMALIZATION) -> str:
    """The report's words with one space between them.

    Raises:
        ValueError: no normalisation has that name.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization {normalization!r} is not known; choose one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[normalization](report)


def normalize_prediction(prediction: str, normalization: str = DEFAULT_NORMALIZATION) -> str:
    """As `normalize_report`, but what a model left unfinished gets no full stop: R2Gen cleans references alone.

    Raises:
        ValueError: no normalisation has that name.
    """
    words = normalize_report(prediction, normalization)
    is_unfinished = normalization in _ENDS_WITH_FULL_STOP and not prediction.rstrip().endswith(".")
    return words.removesuffix(" .") if is_unfinished else words
