"""METEOR without Java and WordNet: exact and stem matches, with a penalty for word order.

It has no synonyms and paraphrases, so it is never printed as "METEOR" alone. Alignment and parameters (Lavie & Agarwal
2007) are those of nltk with an empty WordNet. The original program is in eval/metrics/learned/java_meteor.py.
"""

from collections.abc import Sequence

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, mean_score, paired_words
from eval.metrics.rouge import stem

METEOR_NAME = "METEOR, exact and stem only (nltk)"
ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5
"""Weight of precision, exponent and weight of the penalty."""


def meteor(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """METEOR from 0 to 1; the corpus score is the mean over studies."""
    pairs = paired_words(predictions, references, normalization)
    return mean_score(
        [_score([word.lower() for word in words], [word.lower() for word in true]) for words, true in pairs]
    )


def _score(words: list[str], reference: list[str]) -> float:
    partners = _alignment(words, reference)
    num_matches = len(partners)
    if num_matches == 0:
        return 0.0
    precision, recall = num_matches / len(words), num_matches / len(reference)
    mean = (precision * recall) / (ALPHA * precision + (1 - ALPHA) * recall)
    # A chunk is a run of words that follow each other in both texts.
    num_chunks = sum(partners.get(position - 1) != partner - 1 for position, partner in partners.items())
    return (1 - GAMMA * (num_chunks / num_matches) ** BETA) * mean


def _alignment(words: list[str], reference: list[str]) -> dict[int, int]:
    """The position in the reference of each matched word: first equal words, then words with equal stems; from the last
    word on, each with the last free one."""
    partners = _match(dict(enumerate(words)), free := dict(enumerate(reference)))
    left = {position: stem(word) for position, word in enumerate(words) if position not in partners}
    taken = set(partners.values())
    return partners | _match(left, {place: stem(word) for place, word in free.items() if place not in taken})


def _match(words: dict[int, str], reference: dict[int, str]) -> dict[int, int]:
    places: dict[str, list[int]] = {}
    for place, word in reference.items():
        places.setdefault(word, []).append(place)
    return {position: places[word].pop() for position, word in reversed(words.items()) if places.get(word)}
