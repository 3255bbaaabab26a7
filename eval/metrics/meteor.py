"""METEOR without Java and WordNet: exact and stem matches, with a penalty for word order.

It has no synonyms and paraphrases, so it is never printed as "METEOR" alone. The alignment is nltk's, with the
parameters of Lavie & Agarwal 2007. The original program is in eval/metrics/learned/java_meteor.py.
"""

from collections.abc import Sequence

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, mean_score, paired_words
from eval.metrics.rouge import stem

METEOR_NAME = "METEOR, exact and stem only (nltk)"


class _CachedStemmer:
    def stem(self, word: str) -> str:
        return stem(word)


class _NoSynonyms:
    """Replaces WordNet, which nltk expects."""

    def synsets(self, word: str) -> tuple:
        return ()


def meteor(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """METEOR from 0 to 1; the corpus score is the mean over studies."""
    from nltk.translate.meteor_score import single_meteor_score

    stemmer, wordnet = _CachedStemmer(), _NoSynonyms()
    pairs = paired_words(predictions, references, normalization)
    return mean_score(
        [single_meteor_score(reference, words, stemmer=stemmer, wordnet=wordnet) for words, reference in pairs]
    )
