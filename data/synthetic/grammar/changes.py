"""Write what changed since the prior study: the sentence templates of each change, and their choice.

In templates, {np} is the finding with its article ("a small nodule"), {new} the same as new ("a new small nodule"),
{bare} without article, {Bare} at the start of a sentence, and {is} and {has} its verbs. Resolved findings are named
without a degree. No template names the degree of the prior study, which would be read as the degree of today.
"""

from dataclasses import replace

from numpy.random import Generator

from data.synthetic.grammar.sentences import name_finding, pick
from data.synthetic.scene import SceneFinding

_SIZED = frozenset({"nodule", "mass", "cavitary lesion", "pneumothorax", "pleural effusion"})
"""Kinds that become larger or smaller. Others become worse or better."""

CHANGED = {
    "new": (
        "New {bare}.",
        "There {is} {new}.",
        "{Bare}, new since the prior study.",
        "Interval development of {np}.",
        "{Bare} {has} developed since the prior study.",
        "{Bare} {is} new.",
        "{Bare}, not seen on the prior study.",
    ),
    "unchanged": (
        "Stable {bare}.",
        "Unchanged {bare}.",
        "{Bare}, unchanged.",
        "{Bare} {is} unchanged.",
        "{Bare} {is} stable since the prior study.",
        "No significant interval change in the {bare}.",
        "No change in the {bare}.",
        "Persistent {bare}.",
        "{Bare} {is} again seen.",
        "{Bare} without significant interval change.",
    ),
    "larger": (
        "{Bare} {has} increased in size.",
        "{Bare} {has} increased.",
        "{Bare}, increased in size since the prior study.",
        "{Bare} {is} larger than on the prior study.",
        "Interval increase in size of the {bare}.",
        "Interval enlargement of the {bare}.",
        "Compared to the prior study, the {bare} {has} increased.",
        "Increasing {bare}.",
    ),
    "smaller": (
        "{Bare} {has} decreased in size.",
        "{Bare} {has} decreased.",
        "{Bare}, decreased in size since the prior study.",
        "{Bare} {is} smaller than on the prior study.",
        "Interval decrease in size of the {bare}.",
        "Compared to the prior study, the {bare} {has} decreased.",
        "Decreasing {bare}.",
        "Improved {bare}.",
    ),
    "worse": (
        "{Bare} {has} worsened.",
        "{Bare} {has} increased.",
        "{Bare}, worse than on the prior study.",
        "{Bare} {has} progressed since the prior study.",
        "Interval worsening of the {bare}.",
        "Compared to the prior study, the {bare} {has} increased.",
        "Worsening {bare}.",
    ),
    "better": (
        "{Bare} {has} improved.",
        "{Bare} {has} slightly improved.",
        "{Bare}, improved since the prior study.",
        "{Bare} {has} decreased.",
        "Interval improvement of the {bare}.",
        "Compared to the prior study, the {bare} {has} improved.",
        "Improving {bare}.",
        "Improved {bare}.",
    ),
}
"""Templates for findings that are present."""
POSSIBLY = {
    "new": ("Possible new {bare}.", "Probable new {bare}.", "Possible {bare}, new since the prior study."),
    "unchanged": ("Possible {bare}, unchanged.", "Unchanged possible {bare}.", "Probable {bare}, stable."),
}
"""Templates for uncertain findings."""
RESOLVED = (
    "The {bare} {has} resolved.",
    "Interval resolution of the {bare}.",
    "Resolution of the {bare}.",
    "{Bare} {has} resolved since the prior study.",
    "The previously seen {bare} {has} resolved.",
    "The {bare} {is} no longer seen.",
    "No residual {bare}.",
)
_NORMAL_AGAIN = {
    "Cardiomegaly": ("Heart size is now normal.", "The heart is no longer enlarged.", "Cardiomegaly has resolved."),
    "Enlarged Cardiomediastinum": ("Mediastinal contours are now normal.", "The mediastinum is no longer widened."),
}
"""Templates for resolved findings of the shape of heart and mediastinum."""
_NO_LONGER_BROKEN = ("The {bare} {is} no longer seen.", "The previously seen {bare} {is} no longer seen.")
DEVICE_CHANGED = {
    "new": (
        "New {bare}.",
        "Interval placement of {np}.",
        "{Bare} {has} been placed since the prior study.",
        "There {is} {new}.",
    ),
    "unchanged": (
        "Unchanged {bare}.",
        "{Bare} {is} unchanged in position.",
        "{Bare} {is} unchanged.",
        "{Bare} {is} again seen in stable position.",
    ),
    "resolved": (
        "The {bare} {has} been removed.",
        "Interval removal of the {bare}.",
        "{Bare} {has} been removed since the prior study.",
        "The previously seen {bare} {has} been removed.",
    ),
}
COMPARED = (
    "Comparison is made to the prior study.",
    "Comparison is made with the prior radiograph.",
    "The prior study is available for comparison.",
)
NOTHING_CHANGED = (
    "No significant interval change.",
    "No interval change.",
    "No significant change since the prior study.",
)


def say_change(item: SceneFinding, change: str, rng: Generator) -> str:
    """Write one sentence about a finding and its change since the prior study, "new" to "resolved". A resolved finding
    is given as the prior study shows it."""
    if change == "resolved":
        item = replace(item, degree="")
    name = name_finding(item, rng)
    is_counted = name["np"] != name["bare"]
    name |= {
        "has": "have" if name["is"] == "are" else "has",
        "new": f"{'a ' * is_counted}new {name['bare']}",
    }
    return pick(_templates(item, change), rng).format(**name)


def _templates(item: SceneFinding, change: str) -> tuple[str, ...]:
    if item.finding == "Support Devices":
        return DEVICE_CHANGED[change]
    if change == "resolved":
        return _NO_LONGER_BROKEN if item.finding == "Fracture" else _NORMAL_AGAIN.get(item.finding, RESOLVED)
    if item.uncertain:
        return POSSIBLY[change]
    if item.kind in _SIZED:
        change = {"worse": "larger", "better": "smaller"}.get(change, change)
    return CHANGED[change]
