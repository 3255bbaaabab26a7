"""Comparison of two systems: p-values, differences and counts of findings."""

import dataclasses
import json

import numpy as np
import pytest

from eval.compare import compare, consistency_differences, finding_changes, main
from eval.predictions.prediction import Prediction
from eval.scoring.randomization import holm_adjusted, randomization_p_values
from eval.scoring.scores import score_predictions
from vlm.schema.findings import FINDINGS

NAMES = [finding.lower() for finding in FINDINGS]


def synthetic(
    error_rate: float, seed: int, num_studies: int = 60, with_probabilities: bool = False
) -> list[Prediction]:
    truths = np.random.default_rng(0).random((num_studies, 14)) < 0.3
    errors = np.random.default_rng(seed)
    return [
        Prediction(
            study_id=f"study{study}",
            subject_id=f"subject{study // 2}",
            report=". ".join(
                name for name, stated in zip(NAMES, truth ^ (errors.random(14) < error_rate), strict=True) if stated
            ),
            reference=". ".join(name for name, present in zip(NAMES, truth, strict=True) if present) or "clear",
            reference_labels=tuple(int(present) for present in truth),
            probabilities=tuple(np.clip(truth + errors.normal(0, 0.5, 14), 0, 1)) if with_probabilities else None,
        )
        for study, truth in enumerate(truths)
    ]


def scored(predictions: list[Prediction], name: str = "A"):
    return score_predictions(predictions, name=name, num_resamples=20)


def p_value(first, second, metric: str = "macro_f1", num_swaps: int = 200, seed: int = 0) -> float:
    subjects = first.subject_ids
    return randomization_p_values(first.statistics, second.statistics, subjects, [metric], num_swaps, seed)[metric]


def test_system_does_not_differ_from_itself():
    scores = scored(synthetic(0.1, 1))
    for metric in ("macro_f1", "bleu_4", "cider", "chrf"):
        assert p_value(scores, scores, metric) == 1.0


def test_clear_difference_has_the_smallest_possible_p_value():
    better, worse = scored(synthetic(0.02, 1)), scored(synthetic(0.3, 2))
    for metric in ("macro_f1", "micro_f1", "bleu_4", "cider", "rouge_l"):
        assert p_value(better, worse, metric) == pytest.approx(1 / 201)


def test_p_value_of_a_mean_matches_all_sign_flips():
    first, second = scored(synthetic(0.1, 1, num_studies=12)), scored(synthetic(0.25, 2, num_studies=12))
    differences = (first.per_study["rouge_l"] - second.per_study["rouge_l"]).reshape(6, 2).sum(axis=1)
    signs = np.array(np.meshgrid(*[[1, -1]] * 6)).reshape(6, -1)
    exact = (np.abs(differences @ signs) >= abs(differences.sum()) - 1e-12).mean()
    assert p_value(first, second, "rouge_l", num_swaps=4000) == pytest.approx(exact, abs=0.03)


def test_equal_systems_are_rarely_significantly_different():
    p_values = [
        p_value(scored(synthetic(0.2, seed)), scored(synthetic(0.2, seed + 100)), seed=seed) for seed in range(1, 21)
    ]
    assert sum(value <= 0.05 for value in p_values) <= 4
    assert 0.25 < np.mean(p_values) < 0.75


def test_probabilities_are_swapped():
    first, second = (scored(synthetic(0.1, seed, with_probabilities=True)) for seed in (1, 2))
    assert 1 / 201 <= p_value(first, second, "macro_auroc") <= 1
    blind = [dataclasses.replace(one, probabilities=(0.5,) * 14) for one in synthetic(0.1, 1, with_probabilities=True)]
    assert p_value(first, scored(blind), "macro_auroc") == pytest.approx(1 / 201)


def test_undefined_metric_has_no_p_value():
    scores = scored(synthetic(0.1, 1))
    assert p_value(scores, scores, "macro_auroc") is None


def test_holm_adjustment():
    assert holm_adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjusted([]) == []


def test_comparison_shows_which_system_is_better_and_by_how_much():
    first, second = scored(synthetic(0.02, 1)), scored(synthetic(0.3, 2), "B")
    comparison = compare(first, second, 200)
    macro = comparison["metrics"]["macro_f1"]
    assert macro["difference"]["value"] == pytest.approx(macro["a"]["value"] - macro["b"]["value"])
    assert macro["difference"]["low"] > 0
    studies = comparison["metrics"]["rouge_l"]["studies"]
    assert sum(studies.values()) == 60
    assert studies["a_better"] > 40
    assert comparison["verdict"].startswith("A is better than B in macro-F1 (14): ")
    swapped = scored(synthetic(0.3, 2), "new"), scored(synthetic(0.02, 1), "old")
    assert compare(*swapped, 200)["verdict"].startswith("old is better than new in macro-F1 (14): ")
    assert compare(first, first, 50)["verdict"].startswith("Neither system is shown to be better in macro-F1")


def test_consistency_is_compared_with_paired_intervals():
    base = Prediction(study_id="a", report="", reference="The lungs are clear.", reference_labels=(0,) * 14)
    crossed = "Findings: There is a left pleural effusion. Impression: Right pleural effusion."
    straight = "Findings: There is a left pleural effusion. Impression: Left pleural effusion."
    first, second = (
        [
            dataclasses.replace(base, study_id=str(study), subject_id=str(study), report=texts[study % 2])
            for study in range(40)
        ]
        for texts in ((crossed, straight), (straight, straight))
    )
    rate = consistency_differences(first, second, num_resamples=100)["laterality_conflict_rate"]
    assert (rate["a"]["value"], rate["b"]["value"], rate["difference"]["value"]) == (0.5, 0.0, 0.5)
    assert 0 < rate["difference"]["low"] < 0.5 < rate["difference"]["high"]


def test_finding_changes_are_counted():
    truth = (0, 1, 0, 0, 1) + (0,) * 9
    base = Prediction(study_id="a", report="", reference_labels=truth)
    first = [dataclasses.replace(base, report="edema. fracture"), dataclasses.replace(base, report="edema")]
    second = [dataclasses.replace(base, report="edema. cardiomegaly"), dataclasses.replace(base, report="pneumonia")]
    assert finding_changes(first, second) == {
        "true": 4,
        "true_found_by_both": 1,
        "true_found_by_a_only": 1,
        "true_found_by_b_only": 1,
        "false_by_a_only": 1,
        "false_by_b_only": 1,
    }


def test_program_compares_the_studies_in_both(tmp_path, capsys):
    paths = {}
    for name, texts in {
        "a": ["The heart is enlarged.", "Lungs are clear.", "There is edema.", "The heart is normal."],
        "b": ["The heart is normal.", "Lungs are clear.", "The heart is normal."],
        "r": ["The heart is enlarged.", "Lungs are clear.", "There is edema.", "The heart is normal."],
    }.items():
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(json.dumps({f"s{number}": text for number, text in enumerate(texts)}))
    output = tmp_path / "out" / "comparison.json"
    arguments = [str(paths[name]) for name in "abr"]
    comparison = main([*arguments, "--output", str(output), "--num-resamples", "99"])
    assert comparison == json.loads(output.read_text())
    assert comparison["num_studies"] == 3
    assert "1 studies are only in A and are left out" in comparison["notes"]
    assert comparison["findings"]["true_found_by_a_only"] == 2
    assert comparison["p_value_resolution"] == pytest.approx(0.01)
    printed = " ".join(capsys.readouterr().out.split())
    assert "resolution 0.01" in printed
    assert "True findings (2): only A names 2, only B 0, both 0" in printed
    with pytest.raises(SystemExit):
        main([*arguments, "--num-resamples", "0"])
    assert "--num-resamples is 0; give at least 1" in capsys.readouterr().err
