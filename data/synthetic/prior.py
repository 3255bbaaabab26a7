"""Sample the prior study of a synthetic study: the same patient earlier, and what changed since then.

The scene of the current study is given. Each of its findings is new, or was there before with the same, a smaller or a
larger degree. Findings that the current study does not show were there before and have resolved. So the current image
is the same with and without a prior study.

A finding has one change, also if it is bilateral. Devices are all new, all unchanged or all removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import get_args

import numpy as np

from data.synthetic.scene import LUNGS, SAMPLERS, ZONES, Chest, Degree, Scene, SceneFinding, sample_devices
from vlm.schema.findings import CHANGES, FINDINGS, UNKNOWN_CHANGE

_DEGREES = get_args(Degree)[1:]
_ROUGHLY_EQUAL = 1.15
"""Degrees whose drawn sizes differ by a smaller factor are never the degrees of one finding in the two studies."""
_EXTENTS = (0.52, 0.7, 1.0, 1.35)
_SIZES = {
    "enlarged heart": (0.09, 0.11, 0.165, 0.225),
    "widened mediastinum": (0.45, 0.6, 1.0, 1.5),
    "tortuous aorta": (0.45, 0.6, 1.0, 1.5),
    "hazy opacity": _EXTENTS,
    "interstitial opacity": _EXTENTS,
    "nodule": (0.63, 0.78, 1.0, 1.23),
    "mass": _EXTENTS,
    "cavitary lesion": _EXTENTS,
    "interstitial edema": _EXTENTS,
    "alveolar edema": _EXTENTS,
    "lobar consolidation": (0.06, 0.075, 0.125, 0.25),
    "bronchopneumonia": _EXTENTS,
    "linear atelectasis": (1.0, 1.0, 2.0, 4.0),
    "lobar collapse": (0.75, 0.75, 0.75, 1.1),
    "pneumothorax": (0.11, 0.15, 0.22, 0.3),
    "pleural effusion": (0.15, 0.3, 0.5, 0.85),
    "pleural thickening": (0.030, 0.037, 0.048, 0.061),
    "calcified plaque": (1.0, 2.0, 4.0, 8.0),
}
"""The size that `data.synthetic.phantom` draws for each degree, from minimal to large; equal if they are drawn
alike. Kinds without a row are drawn in one size."""

_WEIGHTS = {"new": 1.0, "worse": 1.4, "unchanged": 1.0, "better": 2.0}
"""How often each change is chosen among those that are possible for a finding that is present: a large finding cannot
have been larger. The weights are alike, so that the current image alone tells little about the change."""
_NUM_RESOLVED = ((0, 1, 2), (0.38, 0.42, 0.2))
_DEVICES_REMOVED = 0.12
_LONGEST_INTERVAL = 730
"""In days. Intervals are sampled evenly on a logarithmic scale, from one day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What changed since the prior study: for each finding one of CHANGES, and the findings that have resolved, as the
    prior study shows them. It serves the report of the current study."""

    changes: Mapping[str, str]
    resolved: tuple[SceneFinding, ...]

    @property
    def codes(self) -> tuple[int, ...]:
        """The changes as codes in the order of FINDINGS; No Finding is unknown."""
        return tuple(UNKNOWN_CHANGE if name == "No Finding" else CHANGES.index(self.changes[name]) for name in FINDINGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorScene:
    """The scene of the prior study. `streams` is, for each of its findings, the number of its random stream when it is
    drawn: that of the same finding in the current scene, or a number of its own."""

    scene: Scene
    streams: tuple[int, ...]
    comparison: Comparison
    interval_days: int


def sample_prior(current: Scene, rng: np.random.Generator) -> PriorScene:
    """Sample the prior study of a patient whose current study is given."""
    changes = dict.fromkeys(FINDINGS[:-1], "none")
    chest = Chest()
    for item in current.findings:
        _occupy(chest, item)
    before: list[tuple[int, SceneFinding]] = []
    devices_are_new = rng.random() < 0.35
    for number, item in enumerate(current.findings):
        is_device = item.finding == "Support Devices"
        earlier = (None if devices_are_new else item) if is_device else _earlier(item, chest, rng)
        changes[item.finding] = _change(earlier, item)
        if earlier is not None:
            _occupy(chest, earlier)
            before.append((number, earlier))
    resolved = _resolved(current, chest, rng)
    changes |= {item.finding: "resolved" for item in resolved}
    before += enumerate(resolved, start=len(current.findings))
    return PriorScene(
        scene=Scene(findings=tuple(item for _, item in before), view_positions=_prior_views(current, rng)),
        streams=tuple(number for number, _ in before),
        comparison=Comparison(changes=changes, resolved=tuple(resolved)),
        interval_days=round(_LONGEST_INTERVAL ** rng.random()),
    )


def _change(earlier: SceneFinding | None, now: SceneFinding) -> str:
    if earlier is None:
        return "new"
    steps = _DEGREES.index(now.degree) - _DEGREES.index(earlier.degree) if now.degree else 0
    return "worse" if steps > 0 else "better" if steps < 0 else "unchanged"


def _earlier(now: SceneFinding, chest: Chest, rng: np.random.Generator) -> SceneFinding | None:
    """The finding as it was in the prior study; None if it is new."""
    degrees = {"worse": _other_degrees(now, chest, larger=False), "better": _other_degrees(now, chest, larger=True)}
    possible = [change for change in _WEIGHTS if degrees.get(change, True)]
    weights = np.array([_WEIGHTS[change] for change in possible])
    change = possible[int(rng.choice(len(possible), p=weights / weights.sum()))]
    if change in degrees:
        return replace(now, degree=degrees[change][int(rng.integers(len(degrees[change])))])
    return None if change == "new" else now


def _other_degrees(now: SceneFinding, chest: Chest, *, larger: bool) -> list[str]:
    """The degrees that are drawn clearly larger (or smaller) and fit into the free lung. An uncertain finding has none:
    it is too faint to compare."""
    if now.kind not in _SIZES or now.uncertain:
        return []
    sizes = dict(zip(_DEGREES, _SIZES[now.kind], strict=True))
    fitting = []
    for degree, size in sizes.items():
        ratio = size / sizes[now.degree] if larger else sizes[now.degree] / size
        too_wide = now.laterality == "bilateral" and now.kind == "pleural effusion" and degree == "large"
        extra = _places(replace(now, degree=degree)) - _places(now)
        if ratio >= _ROUGHLY_EQUAL and not too_wide and chest.free >= extra:
            fitting.append(degree)
    return fitting


def _resolved(current: Scene, chest: Chest, rng: np.random.Generator) -> list[SceneFinding]:
    """Certain findings that the current study does not show, in free places."""
    present = {item.finding for item in current.findings}
    absent = [name for name in SAMPLERS if name not in present]
    number = int(rng.choice(_NUM_RESOLVED[0], p=_NUM_RESOLVED[1]))
    resolved = []
    for name in rng.permutation(absent)[:number]:
        details = SAMPLERS[name][0](chest, rng, "")
        if details:
            resolved.append(SceneFinding(finding=str(name), **details | {"uncertain": False}))
    if "Support Devices" not in present and rng.random() < _DEVICES_REMOVED:
        resolved += sample_devices(rng, "intensive care", resolved)
    return resolved


def _prior_views(current: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    frontal = current.view_positions[0]
    if rng.random() < 0.35:
        frontal = "PA" if frontal == "AP" else "AP"
    return (frontal, "LATERAL") if rng.random() < 0.3 else (frontal,)


def _occupy(chest: Chest, item: SceneFinding) -> None:
    chest.free -= _places(item)


def _places(item: SceneFinding) -> set[tuple[str, str]]:
    """The parts of the lungs that a finding fills, as the samplers of `data.synthetic.scene` take them."""
    match item.finding, item.kind:
        case "Pleural Effusion", _:
            zones = ZONES[{"moderate": 1, "large": 0}.get(item.degree, 2) :]
        case "Pneumothorax", "tension pneumothorax":
            zones = ZONES
        case "Pneumothorax", _:
            zones = ZONES[: {"moderate": 2, "large": 3}.get(item.degree, 1)]
        case "Edema", "alveolar edema":
            zones = ("mid",)
        case "Pleural Other", "pleural thickening":
            zones = ("upper",) if item.zone == "apical" else ("mid", "lower")
        case (("Consolidation" | "Pneumonia" | "Atelectasis" | "Lung Lesion"), _):
            zones = ("lower",) if item.zone == "basal" else (item.zone,)
        case "Lung Opacity", "hazy opacity":
            zones = (item.zone,)
        case _:
            return set()
    return set(product(LUNGS if item.laterality == "bilateral" else (item.laterality,), zones))
