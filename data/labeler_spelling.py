"""Mends slips of spelling in the words that name findings: "effusoin", "cardiomegally", "atelectsis".

A slip is one letter lost, added, changed or moved, never the first. Only long words are mended: from seven letters on,
hardly an English word lies that near to another, and the few that do are listed as they are met in reports.
"""

import re
from functools import lru_cache

_WORDS = (
    "atelectasis", "atelectatic", "cardiomegaly", "catheter", "collapse", "congestion", "consolidation",
    "consolidations", "costophrenic", "effusion", "effusions", "fracture", "fractures", "infection", "infiltrate",
    "infiltrates", "interstitial", "mediastinal", "mediastinum", "opacification", "opacities", "opacity", "pacemaker",
    "pleural", "pneumonia", "pneumothoraces", "pneumothorax", "pulmonary", "silhouette", "sternotomy", "thickening",
)  # fmt: skip
_SHORT_SLIPS = {
    "edma": "edema", "eedma": "edema", "odema": "edema", "edemia": "edema", "edeema": "edema", "ededma": "edema",
    "nodlue": "nodule", "noduel": "nodule", "nodual": "nodule", "noduls": "nodules",
    "nodlues": "nodules", "haert": "heart", "luings": "lungs", "lugns": "lungs", "nromal": "normal", "norml": "normal",
}  # fmt: skip
_NO_SLIPS = frozenset({
    "atelectases", "catheters", "collapsed", "collapses", "effusive", "fractured", "fracturing", "infections",
    "infective", "infiltrated", "infiltrating", "infiltration", "injection", "opacifications", "opacified", "opacify",
    "pacemakers", "pleura", "pneumoniae", "pneumonias", "pneumonic", "plural", "silhouettes",
})  # fmt: skip
"""Words of their own, or other forms that the tables of phrases know."""
_SHORTEST = min(len(word) for word in _WORDS) - 1


def _without_one_letter(word: str) -> set[str]:
    return {word[:position] + word[position + 1 :] for position in range(1, len(word))}


_MEANT = {shorter: word for word in _WORDS for shorter in _without_one_letter(word)} | {word: word for word in _WORDS}


@lru_cache(maxsize=16384)
def _mended(word: str) -> str:
    if word in _SHORT_SLIPS:
        return _SHORT_SLIPS[word]
    if len(word) < _SHORTEST or word in _NO_SLIPS or _MEANT.get(word) == word:
        return word
    if word in _MEANT:
        return _MEANT[word]
    return next((_MEANT[shorter] for shorter in sorted(_without_one_letter(word)) if shorter in _MEANT), word)


_WORD = re.compile(r"[a-z]{4,20}")


def mend_spelling(sentence: str) -> str:
    """A sentence in lower case with slips in the names of findings mended."""
    return _WORD.sub(lambda word: _mended(word.group()), sentence)
