"""The words of a report that text metrics compare, under a name that is printed with every score.

Scores move with case, headings and punctuation, so two figures can be held against each other only
under the same normalisation.
"""

import re

from vlm.report import report_body

_WORD = re.compile(r"\d+\.\d+|[^\W_]+")


def _plain(report: str) -> str:
    return " ".join(_WORD.findall(report_body(report).lower()))


def _none(report: str) -> str:
    return " ".join(report.split())


NORMALIZATIONS = {"plain": _plain, "none": _none}
DESCRIPTIONS = {
    "plain": "headings dropped, lower case, punctuation and ___ to spaces, decimals kept",
    "none": "the text as given, split at white space",
}
DEFAULT_NORMALIZATION = "plain"


def normalize_report(report: str, normalization: str = DEFAULT_NORMALIZATION) -> str:
    """The report's words with one space between them; normalising twice changes nothing.

    Raises:
        ValueError: no normalisation has that name.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization {normalization!r} is not known; choose one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[normalization](report)
