"""The page of results is written from the saved files."""

import json
from pathlib import Path

from eval.report import results
from eval.report.tables import SHOWN, probe_lines

ROOT = Path(__file__).parents[3]


def _document(value, **parts):
    estimate = {"value": value, "low": None if value is None else 0.1, "high": None if value is None else 0.9}
    system = {
        "metrics": dict.fromkeys(SHOWN, estimate),
        "per_finding": [
            {"finding": "Edema", "support": 7, "f1": estimate, "auroc": estimate},
            {"finding": "Fracture", "support": 0, "f1": {"value": None}, "auroc": {"value": None}},
        ],
        "distinct_ratio": 0.5,
    }
    return {
        "verdict": {"image": "The reports depend on the image.", "constant": ""},
        "run": {"checkpoint": "runs/x", "checkpoint_hash": "0123", "dataset": "studies", "split": "test"},
        "studies": {"given": 10, "written": 9},
        "convention": "uncertain counts as positive",
        "normalization": {"name": "plain", "description": "lower case"},
        "bootstrap": {"num_resamples": 50, "seed": 0, "interval": "95 %", "cider": "fixed"},
        "notes": [],
        "versions": {"torch": "2.13.0"},
        "systems": {"model": system, "shuffled images": system},
    } | parts


def test_page_shows_verdict_scores_and_origin(tmp_path):
    (tmp_path / "synthetic_X-ray_test.json").write_text(json.dumps(_document(0.42)))
    results.main([str(tmp_path / "synthetic_X-ray_test.json"), "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "## Synthetic X-ray test" in page
    assert "**The reports depend on the image.**" in page
    cells = " | ".join([".420 [.100, .900]"] * len(SHOWN))
    assert f"| shuffled images | {cells} | .500 |" in page
    assert "| Edema | 7 | .420 [.100, .900] | .420 [.100, .900] |" in page
    assert "9 of 10" in page
    assert "- Checkpoint: runs/x (hash 0123)" in page


def test_finding_without_a_positive_case_is_listed_as_undefined():
    page = results.evaluation_section("x", _document(0.42))
    assert "No positive case, so undefined: Fracture." in page
    assert "| Fracture" not in page


def test_undefined_metric_has_no_column():
    document = _document(0.42)
    for system in document["systems"].values():
        system["metrics"] = {"cider": system["metrics"]["cider"]}
    assert "|  | CIDEr | different reports |" in results.evaluation_section("x", document)


def test_facts_are_below_the_verdict():
    verdict = {"image": "It does.", "constant": "", "facts": ["4 different reports for 590 patients."]}
    assert "**It does.**\n- 4 different reports for 590 patients." in results.evaluation_section(
        "x", _document(0.42, verdict=verdict)
    )


def test_the_page_in_the_repository_is_what_the_program_writes(tmp_path):
    results.main([str(ROOT / "docs" / "results"), "--output", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "RESULTS.md").read_text()


def test_probe_is_shown_with_its_control():
    figures = {
        "auroc": {"value": 0.8, "low": 0.7, "high": 0.9},
        "auroc_shuffled": {"value": 0.5, "low": 0.4, "high": 0.6},
    }
    counts = {"dataset": "D", "split": "test", "num_learned": 1200, "num_studies": 30, "num_patients": 20}
    text = "\n".join(probe_lines({"statements": ["bacterial", "viral"], **counts, **figures}))
    assert "AUROC .800 [.700, .900]; with another patient's images .500 [.400, .600]" in text
    assert "trained on 1,200 training studies" in text
