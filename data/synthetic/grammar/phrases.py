"""Words for what a synthetic study shows: places, degrees and names of each kind of finding. Tables only.

`data.synthetic.grammar.sentences` chooses from them. The words of one finding never state another: "opacity" is used
only for Lung Opacity, "consolidation" only for Consolidation. Nothing mentions a prior study. The vocabulary is small,
so that a small decoder can learn it in minutes.
"""

from dataclasses import dataclass, field

PLACES = {
    "apical": {
        "one": (("{side} apical",), ("at the {side} apex", "at the {side} lung apex")),
        "both": (("biapical", "bilateral apical"), ("at both apices", "at both lung apices")),
        "none": (("apical",), ("at the apex",)),
    },
    "upper": {
        "one": (("{side} upper lobe", "{side} upper lung"), ("in the {side} upper lobe", "in the upper {side} lung")),
        "both": (("bilateral upper lobe",), ("in both upper lobes", "in the upper lungs bilaterally")),
        "none": (("upper lung",), ("in the upper lung",)),
    },
    "mid": {
        "one": (("{side} mid lung",), ("in the {side} mid lung", "in the mid {side} lung")),
        "both": (("bilateral mid lung",), ("in both mid lungs", "in the mid lungs bilaterally")),
        "none": (("mid lung",), ("in the mid lung",)),
    },
    "lower": {
        "one": (("{side} lower lobe", "{side} lower lung"), ("in the {side} lower lobe", "in the lower {side} lung")),
        "both": (("bilateral lower lobe",), ("in both lower lobes", "in the lower lungs bilaterally")),
        "none": (("lower lung",), ("in the lower lung",)),
    },
    "basal": {
        "one": (("{side} basilar", "{side} basal"), ("at the {side} lung base", "at the {side} base")),
        "both": (("bibasilar", "bilateral basal"), ("at both lung bases", "at the lung bases bilaterally")),
        "none": (("basilar", "basal"), ("at the lung base",)),
    },
    "perihilar": {
        "one": (("{side} perihilar",), ("in the {side} perihilar region", "around the {side} hilum")),
        "both": (("bilateral perihilar",), ("in both perihilar regions", "around both hila")),
        "none": (("perihilar",), ("in the perihilar region",)),
    },
    "diffuse": {
        "one": (("diffuse {side} lung",), ("throughout the {side} lung",)),
        "both": (("diffuse bilateral",), ("throughout both lungs",)),
        "none": (("diffuse",), ("throughout the lungs",)),
    },
    "": {
        "one": (("{side}", "{side}-sided"), ("on the {side}",)),
        "both": (("bilateral",), ("bilaterally", "on both sides")),
        "none": (("",), ("",)),
    },
}
"""Zone -> one side, both or none: (words before the name of the finding, words after it)."""

SIZES = {"minimal": ("tiny", "minimal"), "small": ("small",), "moderate": ("moderate",), "large": ("large",)}
LESIONS = SIZES | {"moderate": ("moderate-sized",)}
FLUID = {"minimal": ("trace", "tiny"), "small": ("small",), "moderate": ("moderate",), "large": ("large",)}
GRADES = {
    "minimal": ("minimal", "slight"),
    "small": ("mild",),
    "moderate": ("moderate",),
    "large": ("severe", "marked"),
}
EXTENTS = {"minimal": ("minimal", "subtle"), "small": ("mild",), "moderate": ("moderate",), "large": ("extensive",)}
AREAS = {"minimal": ("minimal",), "small": ("small",), "moderate": ("moderate",), "large": ("large", "extensive")}
COLLAPSES = {"minimal": ("partial",), "small": ("partial",), "moderate": ("partial",), "large": ("complete",)}
ADVERBS = {
    "": ("",),
    "minimal": ("minimally", "slightly"),
    "small": ("mildly",),
    "moderate": ("moderately",),
    "large": ("severely", "markedly"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """The words for one kind of finding.

    `names` are (singular, plural); an empty plural marks a mass noun (no article, no plural). `sentences` are whole
    sentences for certain findings, `hedged` for uncertain ones. `placed` is the kind of place: "lung" (laterality and
    zone), "pleura" (laterality, and apex or base), "laterality" (nothing else) or "none".
    """

    names: tuple[tuple[str, str], ...]
    degrees: dict[str, tuple[str, ...]] = field(default_factory=dict)
    placed: str = "lung"
    sentences: tuple[str, ...] = ()
    hedged: tuple[str, ...] = ()


def _counted(*names: str) -> tuple[tuple[str, str], ...]:
    """Names of countable things, with their plurals."""
    endings = {"y": "ies", "x": "ces", "s": "ses"}
    return tuple((name, name[:-1] + endings.get(name[-1], f"{name[-1]}s")) for name in names)


def _mass(*names: str) -> tuple[tuple[str, str], ...]:
    """Names without an article and a plural."""
    return tuple((name, "") for name in names)


NAMINGS = {
    "widened mediastinum": Naming(
        names=_mass("widening of the mediastinum", "mediastinal widening"),
        degrees=GRADES,
        placed="none",
        sentences=("The mediastinum is {adverb} widened.", "The mediastinal contour is {adverb} widened."),
        hedged=("The mediastinum may be {adverb} widened.", "The mediastinal contour is possibly widened."),
    ),
    "tortuous aorta": Naming(
        names=_mass("widening of the mediastinum from a tortuous aorta"),
        degrees=GRADES,
        placed="none",
        sentences=(
            "The mediastinal contour is {adverb} widened by a tortuous aorta.",
            "Tortuous aorta with a {adverb} widened mediastinum.",
            "The aorta is tortuous and the mediastinum is {adverb} widened.",
        ),
        hedged=(
            "The mediastinum may be widened by a tortuous aorta.",
            "Possible mediastinal widening from a tortuous aorta.",
        ),
    ),
    "enlarged heart": Naming(
        names=_mass("cardiomegaly", "enlargement of the heart", "enlargement of the cardiac silhouette"),
        degrees=GRADES,
        placed="none",
        sentences=(
            "The heart is {adverb} enlarged.",
            "The cardiac silhouette is {adverb} enlarged.",
            "Heart size is {adverb} enlarged.",
            "The heart size is {adverb} increased.",
        ),
        hedged=(
            "Heart size is borderline enlarged.",
            "The cardiac silhouette may be {adverb} enlarged.",
            "The heart is possibly enlarged.",
        ),
    ),
    "hazy opacity": Naming(names=_counted("hazy opacity", "airspace opacity", "opacity"), degrees=EXTENTS),
    "interstitial opacity": Naming(
        names=_counted("interstitial opacity", "reticular opacity") + _mass("interstitial opacities"), degrees=EXTENTS
    ),
    "nodule": Naming(names=_counted("nodule", "pulmonary nodule"), degrees=LESIONS),
    "mass": Naming(names=_counted("mass", "lung mass"), degrees=LESIONS),
    "cavitary lesion": Naming(names=_counted("cavitary lesion", "cavitary mass"), degrees=LESIONS),
    "interstitial edema": Naming(
        names=_mass("interstitial edema", "interstitial pulmonary edema", "pulmonary edema"), degrees=GRADES
    ),
    "alveolar edema": Naming(
        names=_mass("alveolar edema", "alveolar pulmonary edema", "pulmonary edema"), degrees=GRADES
    ),
    "lobar consolidation": Naming(
        names=_counted("consolidation") + _mass("consolidation", "lobar consolidation"), degrees=AREAS
    ),
    "bronchopneumonia": Naming(names=_mass("pneumonia", "bronchopneumonia", "patchy pneumonia"), degrees=EXTENTS),
    "linear atelectasis": Naming(
        names=_mass("linear atelectasis", "platelike atelectasis", "atelectasis"), degrees=EXTENTS
    ),
    "lobar collapse": Naming(names=_mass("collapse", "lobar collapse", "lobar atelectasis"), degrees=COLLAPSES),
    "pneumothorax": Naming(names=_counted("pneumothorax"), degrees=SIZES, placed="pleura"),
    "tension pneumothorax": Naming(names=_counted("tension pneumothorax"), degrees=SIZES, placed="laterality"),
    "pleural effusion": Naming(
        names=_counted("pleural effusion", "effusion") + _mass("pleural fluid"),
        degrees=FLUID,
        placed="laterality",
        hedged=("Blunting of the {side} costophrenic angle may represent {np}.",),
    ),
    "pleural thickening": Naming(names=_mass("pleural thickening"), degrees=GRADES, placed="pleura"),
    "calcified plaque": Naming(
        names=_counted("calcified pleural plaque", "pleural plaque") + _mass("pleural calcification"),
        degrees=SIZES,
        placed="pleura",
    ),
    "rib fracture": Naming(
        names=(*_counted("rib fracture"), ("fracture of a {side} rib", "rib fractures")), placed="laterality"
    ),
    "clavicle fracture": Naming(
        names=(*_counted("clavicle fracture"), ("fracture of the {side} clavicle", "clavicle fractures")),
        placed="laterality",
    ),
    "endotracheal tube": Naming(
        names=_counted("endotracheal tube"),
        placed="none",
        sentences=(
            "The endotracheal tube ends above the carina.",
            "Endotracheal tube tip is above the carina.",
            "An endotracheal tube is in place.",
        ),
    ),
    "nasogastric tube": Naming(
        names=_counted("nasogastric tube", "enteric tube"),
        placed="none",
        sentences=("A nasogastric tube ends in the stomach.", "The enteric tube courses below the diaphragm."),
    ),
    "central venous catheter": Naming(
        names=_counted("central venous catheter", "central line"),
        placed="laterality",
        sentences=(
            "{A_sided} central venous catheter ends in the superior vena cava.",
            "{A_sided} central line has its tip in the SVC.",
        ),
    ),
    "PICC line": Naming(
        names=_counted("PICC line", "PICC"),
        placed="laterality",
        sentences=("{A_sided} PICC line ends in the superior vena cava.", "{A_sided} PICC has its tip in the SVC."),
    ),
    "pacemaker": Naming(
        names=_counted("pacemaker", "chest wall pacemaker"),
        placed="laterality",
        sentences=("{A_sided} pacemaker with leads over the heart.", "{A_sided} pacemaker is in place."),
    ),
    "sternotomy wires": Naming(
        names=_mass("sternotomy wires", "median sternotomy wires"),
        placed="none",
        sentences=("Median sternotomy wires are in place.", "Sternotomy wires are intact."),
    ),
    "chest tube": Naming(
        names=_counted("chest tube", "pleural drain"),
        placed="laterality",
        sentences=("{A_sided} chest tube is in place.",),
    ),
    # Names for labels that say nothing about the form. They are not drawn.
    "infiltrate": Naming(names=_counted("infiltrate", "pulmonary infiltrate", "opacity")),
    "opacity": Naming(names=_counted("opacity", "airspace opacity")),
    "consolidation": Naming(names=_counted("consolidation") + _mass("consolidation", "airspace consolidation")),
    "pneumonia": Naming(names=_mass("pneumonia")),
    "edema": Naming(names=_mass("pulmonary edema", "edema")),
    "atelectasis": Naming(names=_mass("atelectasis")),
    "emphysema": Naming(names=_mass("emphysema")),
    "fibrosis": Naming(names=_mass("fibrosis", "pulmonary fibrosis")),
    "hernia": Naming(names=_counted("hernia", "diaphragmatic hernia")),
}
