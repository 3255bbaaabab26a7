"""The original METEOR 1.5 (Denkowski & Lavie 2014) with synonyms and paraphrases: its jar, run with Java on request.

The jar returns counts per study. The score is computed from them here, so that sums of counts give the corpus score, as
in the jar's own EVAL.
"""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.metrics.learned.registry import LearnedScores

PACKAGE = "pycocoevalcap"
NUM_STATISTICS = 23
# The jar's defaults for English (`-l en`): alpha, beta, gamma, delta; weights of exact, stem, synonym and paraphrase.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MODULE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])


def java_meteor(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """METEOR of normalized texts. `where`: the path of the jar, or "pycocoevalcap" for the one in that package.

    Raises:
        ValueError: Java or the jar is missing, or the output of the jar is not counts.
    """
    jar = _find_jar(where)
    java = shutil.which("java")
    if java is None:
        raise ValueError("meteor needs Java, and there is no `java` on the path: install a JRE (Debian: default-jre)")
    lines = [
        f"SCORE ||| {_one_line(reference)} ||| {_one_line(prediction)}\n"
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    answer = subprocess.run(
        [java, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"],
        cwd=jar.parent,
        input="".join(lines),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    rows = [row.split() for row in answer.stdout.splitlines()]
    if answer.returncode != 0 or len(rows) != len(lines) or {len(row) for row in rows} - {NUM_STATISTICS}:
        raise ValueError(
            f"{jar} did not respond like METEOR 1.5 ({len(rows)} of {len(lines)} studies); Java said: "
            f"{answer.stderr.strip()[-300:] or 'nothing'}"
        )
    statistics = np.array(rows, dtype=np.float64)
    # A prediction that matches completely in one chunk has no fragmentation penalty.
    is_whole = (statistics[:, 20] == 1) & (statistics[:, 21:23] == statistics[:, 0:2]).all(axis=1)
    statistics[is_whole, 20] = 0
    return LearnedScores(
        statistics=statistics,
        figures_of=lambda sums: {"meteor": meteor_from_statistics(sums)},
        note="METEOR 1.5, English, with synonyms and paraphrases (the original Java program)",
    )


def meteor_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """METEOR [...] from the counts of the jar [..., 23] or sums of them.

    The counts: lengths of prediction and reference, function words of each, matched content and function words of each
    by module, chunks, matched words.
    """
    length, function = statistics[..., 0:2], statistics[..., 2:4]
    modules = statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 2, 2)
    content_matched, function_matched = np.moveaxis((modules * MODULE_WEIGHTS[:, None, None]).sum(axis=-3), -2, 0)
    total = DELTA * (length - function) + (1 - DELTA) * function
    matched = DELTA * content_matched + (1 - DELTA) * function_matched
    precision, recall = np.moveaxis(np.divide(matched, total, out=np.zeros_like(total), where=total > 0), -1, 0)
    denominator = ALPHA * precision + (1 - ALPHA) * recall
    mean = np.divide(precision * recall, denominator, out=np.zeros_like(denominator), where=denominator > 0)
    num_runs, num_matched = statistics[..., 20], statistics[..., 21:23].mean(axis=-1)
    fragmentation = np.divide(num_runs, num_matched, out=np.zeros_like(num_runs), where=num_matched > 0)
    return mean * (1 - GAMMA * fragmentation**BETA)


def _find_jar(where: str) -> Path:
    if where == PACKAGE:
        package = importlib.util.find_spec(PACKAGE)
        if package is None:
            raise ValueError(f"meteor={PACKAGE} needs that package: pip install {PACKAGE}")
        return Path(package.submodule_search_locations[0]) / "meteor" / "meteor-1.5.jar"
    jar = Path(where)
    if not jar.is_file():
        raise ValueError(
            f"meteor={where}: there is no such file; give the path of meteor-1.5.jar (its data folder beside it), or "
            f"{PACKAGE} for the one in that package"
        )
    return jar.resolve()


def _one_line(text: str) -> str:
    return " ".join(text.replace("|||", " ").split())
