"""Recognize text that is not English. The labeler and the de-identification have rules for English only."""

import re

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = re.compile(
    r"\b(?:the|is|are|there|have|not|and|or|of|with|without|within|for|this|that|hearts?|lungs?|chest|clear|clearly|"
    r"enlarged|effusions?|abnormalities|limits|size|bones|disease|evidence|seen|left|right|unchanged|mild|small|large)\b"
)
"""Common words of English reports that are rare in similar languages."""
MIN_WORDS = 4
MIN_SHARE = 0.1


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FOREIGN = _words(
    # German
    "kein keine keinen keiner keines keinem keinerlei nicht ohne und oder nachweis nachweisbar ausschluss erguss "
    "beidseits rechts herz lunge lungen befund beurteilung auch sich mit bei nach zeigt sind wird wurde nein "
    "unauffaellig ausgeschlossen "
    # French
    "aucun aucune sans ni les des une avec dans pour sont exclu exclus poumon poumons coeur "
    "cardiaque normale normales visibles "
    # Dutch
    "geen niet zonder longen vergroot rechter linker zijn het een aanwijzingen "
    # Spanish, Portuguese, Italian, Romanian, Catalan
    "hay sin con derrame derrames pulmones normales silueta sem senza nessun nessuna nessuno assenza ausencia torace "
    "nella polmoni polmone cuore versamento osserva segni della dello degli fara este sunt niciun nicio sense observa "
    # Scandinavian, Finnish, Baltic
    "ingen inga inget intet ikke inte uten utan uden och og eller hjertet lungene ei ole nav "
    # Slavic, Hungarian, Turkish
    "brak bez nie cech nema nincs nem yok "
    # Names of findings
    "pneumotorace pneumotorax neumotorax pleuraerguss pleuravocht epanchement polmonite pneumonie neumonia infiltraat "
    # Indonesian, Malay, Filipino, Swahili
    "tidak tampak ada tiada walang hakuna"
)
_AMBIGUOUS = _words("de du di del il lo los las im das der den die se un pas para por")
"""Words of other languages that also occur in English text, as in names; they count if no word is English."""
_COMMON = _words(
    "the is are was were of with and or without there has have this that which but not on at to for from by as seen "
    "left right small mild large normal clear lung lungs heart chest stable new old acute"
)
_OTHER_LETTER = re.compile(r"[^\W\d_A-Za-zªµºÀ-ɏ]")
_ACCENT = re.compile(r"[À-ɏ]")
_LONGEST_GREEK = 1
"""A single Greek letter is a symbol."""


_MARKERS = _FOREIGN | _AMBIGUOUS


def is_foreign(sentence: str) -> bool:
    """Whether a sentence is in another language: it has words of one, and not more words that are English."""
    words = _WORD.findall(sentence.lower())
    is_ascii = sentence.isascii()
    if is_ascii and _MARKERS.isdisjoint(words):
        return False
    if not is_ascii and any(len(word) > _LONGEST_GREEK and _OTHER_LETTER.search(word) for word in words):
        return True
    num_foreign = sum(word in _FOREIGN or _ACCENT.search(word) is not None for word in words)
    num_english = sum(word in _COMMON for word in words)
    has_marker = num_foreign or not _AMBIGUOUS.isdisjoint(words)
    return num_foreign >= max(num_english, 1) or bool(has_marker and not num_english)


def looks_english(report: str) -> bool:
    """Whether at least a tenth of the words are common in English reports.

    A text of fewer than four words counts as English if it has only ASCII letters and is not `is_foreign`.
    """
    text = report.lower()
    num_words = sum(1 for _ in _WORD.finditer(text))
    if num_words < MIN_WORDS:
        return all(word.isascii() for word in _WORD.findall(text)) and not is_foreign(text)
    return sum(1 for _ in _ENGLISH.finditer(text)) >= MIN_SHARE * num_words
