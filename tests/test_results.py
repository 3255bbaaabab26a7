"""The page of results: what is in it comes from the files."""

import json
from pathlib import Path

from eval import results

ROOT = Path(__file__).parent.parent


def _document(value):
    estimate = {"value": value, "low": 0.1, "high": None if value is None else 0.9}
    system = {
        "metrics": dict.fromkeys(results.METRICS, estimate),
        "per_finding": [{"finding": "Edema", "support": 7, "f1": estimate, "auroc": estimate}],
        "distinct_ratio": 0.5,
    }
    return {
        "verdict": {"image": "The reports depend on the image.", "constant": ""},
        "run": {"checkpoint": "runs/x", "dataset": "studies", "split": "test"},
        "studies": {"given": 10, "written": 9},
        "convention": "uncertain counts as positive",
        "normalization": {"name": "plain"},
        "versions": {"torch": "2.13.0"},
        "systems": {"model": system, "shuffled images": system},
    }


def test_the_page_shows_verdict_figures_and_origin(tmp_path):
    (tmp_path / "made_up_test.json").write_text(json.dumps(_document(0.42)))
    results.main([str(tmp_path / "made_up_test.json"), "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "## Made up test" in page
    assert "**The reports depend on the image.**" in page
    assert "| macro-F1 (14) | .420 [.100, .900] | .420 [.100, .900] |" in page
    assert "| Edema | 7 | .420 [.100, .900] | .420 [.100, .900] |" in page
    assert "9 of 10 studies" in page


def test_an_undefined_figure_is_a_dash(tmp_path):
    assert "| CIDEr | – | – |" in results.results_section("x", _document(None))


def test_the_page_in_the_repository_is_what_the_program_writes(tmp_path):
    saved = sorted((ROOT / "docs" / "results").glob("*.json"))
    results.main([*map(str, saved), "--output", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "RESULTS.md").read_text()
