"""METEOR without Java and WordNet: words matched as they are, then by their stem; order costs.

Synonyms and paraphrases are missing, so it is never printed as "METEOR" alone. nltk's alignment, with the
parameters of Lavie & Agarwal 2007; the original program is eval/metrics/learned/java_meteor.py.
"""

from collections.abc import Sequence

from eval.metrics.normalization import DEFAULT_NORMALIZATION, MeanScore, mean_score, paired_words
from eval.metrics.rouge import stem

METEOR_NAME = "METEOR, exact and stem only (nltk)"


class _CachedStemmer:
    def stem(self, word: str) -> str:
        return stem(word)


class _NoSynonyms:
    """Stands where nltk expects WordNet."""

    def synsets(self, word: str) -> tuple:
        return ()


def meteor(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> MeanScore:
    """Of 0 to 1; the value for the corpus is the mean over studies."""
    from nltk.translate.meteor_score import single_meteor_score

    stemmer, wordnet = _CachedStemmer(), _NoSynonyms()
    pairs = paired_words(predictions, references, normalization)
    return mean_score(
        [single_meteor_score(reference, words, stemmer=stemmer, wordnet=wordnet) for words, reference in pairs]
    )
