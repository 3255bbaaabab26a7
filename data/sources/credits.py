"""The sources that shipped weights learn from, by the name they have in a data set: whom to name for them, and what
they cannot teach.

Licences of the CC BY kind ask for the makers' names, the licence, and a word on what was changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSource:
    """None of these holds reports that radiologists wrote on images of adults."""

    credit: str
    limit: str


KNOWN_SOURCES = {
    "synthetic": KnownSource(
        credit="Synthetic studies of this project (`python -m data.prepare synthetic`), Apache-2.0.",
        limit="The synthetic studies are schematic phantoms with reports from a grammar. Figures on them say that the "
        "machinery works and that the model looks at the image; they say nothing about patients.",
    ),
    "kermany": KnownSource(
        credit="Daniel Kermany, Kang Zhang, Michael Goldbaum: “Labeled Optical Coherence Tomography (OCT) and Chest "
        "X-Ray Images for Classification”, Mendeley Data, 2018, doi:10.17632/rscbjbr9sj, CC BY 4.0 "
        "(https://creativecommons.org/licenses/by/4.0/); described in Kermany et al., Cell 172, 2018. Changed: made "
        "gray and small; the reports beside them are not theirs.",
        limit="The pneumonia X-rays are of children of one hospital, chosen so that most are ill. Of each it was known "
        "whether there is pneumonia, and of which kind, and nothing else; the reports that the model learned on them "
        "were composed from these labels, in the synthetic studies' language. No radiologist wrote them.",
    ),
    "hannover": KnownSource(
        credit="Hinrich B. Winther et al.: “COVID-19 Image Repository”, Hannover Medical School, figshare, 2020, "
        "doi:10.6084/m9.figshare.12275009, CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/). Changed: made "
        "gray and small.",
        limit="The X-rays of Hannover came without any text.",
    ),
}


def credits_of(sources: Iterable[str]) -> list[str]:
    """A line a source; one that is not known here is sent to its own licence."""
    known = {source: KNOWN_SOURCES[source].credit for source in KNOWN_SOURCES}
    return [known.get(source, f"{source or 'a source without a name'}: as its licence asks.") for source in sources]


def limits_of(sources: Iterable[str]) -> list[str]:
    """What a model that learned from these alone cannot know, the most important first; nothing is said of a source
    that is not known here."""
    sources = list(sources)
    lacking = "It has seen no adult reports with real images, so nothing is known of what it writes on adults."
    told = [lacking] if sources and set(sources) <= set(KNOWN_SOURCES) else []
    return told + [KNOWN_SOURCES[source].limit for source in sources if source in KNOWN_SOURCES]
