"""Write one or two findings of a synthetic report as a noun phrase or sentence.

Certain findings are stated, uncertain ones are hedged. Laterality, zone and degree vary in words and order.

A report style represents the habits of one department: it uses only a few of all wordings. Reports of one real
department have similar habits. The scenes and images do not depend on the style.
"""

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from numpy.random import BitGenerator, Generator

from data.synthetic.grammar import frames, phrases
from data.synthetic.scene import SceneFinding

SHARE = 4
"""A department uses one in this many wordings, and at least one."""


class Department(Generator):
    """A random generator for `pick` that knows the wordings of one department."""

    def __init__(self, bit_generator: BitGenerator, number: int):
        super().__init__(bit_generator)
        self.number = number

    def wordings(self, options: tuple[Any, ...]) -> tuple[Any, ...]:
        return _habits(self.number, options)


@cache
def _habits(number: int, options: tuple[Any, ...]) -> tuple[Any, ...]:
    """The wordings of this department, the same on every machine."""
    drawn = {option: hashlib.blake2b(f"{number}:{option!r}".encode()).digest() for option in options}
    return tuple(sorted(drawn, key=drawn.__getitem__)[: -(-len(drawn) // SHARE)])


Choice = TypeVar("Choice")

_PLEURAL_ZONES = {"apical": "apical", "upper": "apical", "basal": "basal", "lower": "basal"}


def pick(options: tuple[Choice, ...], rng: Generator) -> Choice:
    """Choose one of the options; for a `Department`, one of its own wordings."""
    if isinstance(rng, Department):
        options = rng.wordings(tuple(options))
    return options[int(rng.integers(len(options)))]


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(words: list[str], conjunction: str, rng: Generator) -> str:
    """ "a", "a or b", "a, b or c"; with or without the last comma."""
    *first, last = words
    if not first:
        return last
    comma = pick((",", ""), rng) if len(first) > 1 else ""
    return f"{', '.join(first)}{comma} {conjunction} {last}"


def _place(item: SceneFinding, placed: str, rng: Generator) -> tuple[str, str]:
    """The place of the finding as (words before the name, words after it); one of them is empty."""
    if placed == "none":
        return "", ""
    zone = {"lung": item.zone, "pleura": _PLEURAL_ZONES.get(item.zone, "")}.get(placed, "")
    number = {"": "none", "bilateral": "both"}.get(item.laterality, "one")
    before, after = phrases.PLACES[zone][number]
    if rng.random() < 0.55:
        return pick(before, rng).format(side=item.laterality), ""
    return "", pick(after, rng).format(side=item.laterality)


def name_finding(item: SceneFinding, rng: Generator) -> dict[str, str]:
    """The words of the templates in `frames` for a finding with place and degree ("small left effusion")."""
    naming = phrases.NAMINGS[item.kind]
    singular, plural = pick(naming.names, rng)
    bilateral = item.laterality == "bilateral" and naming.placed != "none"
    before, after = _place(item, naming.placed, rng)
    if "{side}" in singular and not bilateral:
        singular = singular.format(side=item.laterality)
        before = after = ""
    noun = plural if bilateral and plural else singular
    degree = pick(naming.degrees[item.degree], rng) if item.degree in naming.degrees else ""
    whole_lobe = (
        item.kind == "lobar collapse" and item.zone in ("upper", "lower") and item.laterality in ("left", "right")
    )
    if whole_lobe and rng.random() < 0.5:
        noun, before, after = "collapse", "", f"of the {item.laterality} {item.zone} lobe"
    words = " ".join(f"{degree} {before} {noun} {after}".split())
    counted = bool(plural) and noun == singular
    article = f"{'an' if words[0] in 'aeiou' else 'a'} {words}" if counted else words
    many = not counted and (bool(plural) or noun.endswith(("wires", "opacities")))
    return {"bare": words, "Bare": capitalized(words), "np": article, "is": "are" if many else "is"}


def say_finding(item: SceneFinding, rng: Generator, *, brief: bool = False) -> str:
    """Write one sentence about one finding; `brief`: as in an impression."""
    naming = phrases.NAMINGS[item.kind]
    name = name_finding(item, rng)
    wholes = naming.hedged if item.uncertain else naming.sentences
    if wholes and not brief and item.laterality != "bilateral" and rng.random() < 0.6:
        frame = pick(wholes, rng)
    elif item.uncertain:
        brief = brief or item.finding == "Support Devices"
        frame = pick(frames.BRIEFLY_UNCERTAIN if brief else frames.UNCERTAIN, rng)
    else:
        frame = "{Bare}." if brief else pick(frames.STATED, rng)
    sided = pick((item.laterality, f"{item.laterality}-sided"), rng) if item.laterality else ""
    text = frame.format(
        **name,
        adverb=pick(phrases.ADVERBS[item.degree], rng),
        side=item.laterality,
        A_sided=f"A {sided}",
    )
    return " ".join(text.split())


def say_pair(first: SceneFinding, second: SceneFinding, rng: Generator) -> str:
    """Write one sentence about two findings that are both certain or both uncertain."""
    one, other = name_finding(first, rng), name_finding(second, rng)
    frame = pick(frames.UNCERTAIN_PAIR if first.uncertain else frames.PAIRED, rng)
    if "{is}" in frame:
        return frame.format(first=one["np"], second=other["np"], **one)
    return frame.format(first=one["bare"], First=one["Bare"], second=other["bare" if first.uncertain else "np"])


def explain_opacity(opacity: SceneFinding, cause: SceneFinding, rng: Generator) -> str:
    """Write one sentence about a certain opacity and an uncertain finding that may be its cause."""
    name = name_finding(opacity, rng)
    second = name_finding(replace(cause, laterality="", zone="", degree=""), rng)["bare"]
    return pick(frames.EXPLAINED, rng).format(First=name["Bare"], second=second, **name)


def say_without(item: SceneFinding, denied: str, rng: Generator) -> str:
    """Write one sentence that states a finding and denies another: "mild cardiomegaly without pulmonary edema"."""
    return f"{name_finding(item, rng)['Bare']} without {pick(frames.DENIALS[denied][1], rng)}."
