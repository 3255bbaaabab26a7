"""The metrics as modules of the `evaluate` library: loaded by path, combined and saved.

They run in a separate process without network access and with a read-only home folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.reports.labeler.labeler import label_report
from eval.metrics.bleu import bleu
from eval.metrics.chrf import chrf
from eval.metrics.cider import cider, plain_cider
from eval.metrics.clinical import f1_scores
from eval.metrics.errors import ERROR_KINDS, error_scores
from eval.metrics.meteor import meteor
from eval.metrics.rouge import rouge_l, stemmed_rouge_l

ROOT = Path(__file__).parents[3]
HF = ROOT / "eval" / "metrics" / "hf"
MODULES = sorted(path.name for path in HF.iterdir() if (path / f"{path.name}.py").is_file())
PREDICTIONS = ["The heart is enlarged.", "No pleural effusion is seen.", "The lungs may be clear of edema."]
REFERENCES = ["Cardiomegaly. No effusion.", "No pleural effusion.", "Lungs are clear. No pneumothorax."]
PROGRAM = """
import json, sys, evaluate
names, pair = json.loads(sys.argv[1])
results = {name: evaluate.load(f"eval/metrics/hf/{name}").compute(**pair) for name in names}
results["as given"] = evaluate.load("eval/metrics/hf/rouge_l").compute(**pair, normalization="none")
results["combined"] = evaluate.combine([f"eval/metrics/hf/{name}" for name in names]).compute(**pair)
evaluate.save(sys.argv[2], **results["combined"])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Results of each module, of all modules combined ("combined") and of the saved file ("saved")."""
    folder = tmp_path_factory.mktemp("modules")
    home = folder / "home"
    home.mkdir(mode=0o500)
    task = json.dumps([MODULES, {"predictions": PREDICTIONS, "references": REFERENCES}])
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, task, str(folder / "saved.json")],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "HF_HOME": str(folder / "hugging_face"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout) | {"saved": json.loads((folder / "saved.json").read_text())}


def test_each_module_equals_its_metric_function(computed):
    pair = PREDICTIONS, REFERENCES
    assert list(computed["bleu"].values()) == bleu(*pair).score
    assert computed["rouge_l"] == {"rouge_l": rouge_l(*pair).score, "rouge_l_stemmed": stemmed_rouge_l(*pair).score}
    assert computed["cider"] == {"cider": cider(*pair).score, "plain_cider": plain_cider(*pair).score}
    assert computed["meteor"] == {"meteor_exact_and_stem": meteor(*pair).score}
    assert computed["chrf"] == {"chrf": chrf(*pair).score}


def test_findings_are_labeled_in_both_texts(computed):
    expected = f1_scores([*map(label_report, PREDICTIONS)], [*map(label_report, REFERENCES)])
    assert computed["findings_f1"]["micro_f1"] == expected["micro_f1"]
    assert computed["findings_f1"]["convention"] == "uncertain counts as positive"


def test_errors_are_averaged_over_reports(computed):
    found = error_scores(PREDICTIONS, REFERENCES)
    assert computed["report_errors"]["error_score"] == found.scores.mean()
    assert computed["report_errors"]["error_harm"] == found.harms.mean()
    assert computed["report_errors"]["errors_by_kind"] == dict(
        zip(ERROR_KINDS, found.counts.mean(axis=0).tolist(), strict=True)
    )


def test_normalization_can_be_selected(computed):
    assert computed["as given"]["rouge_l"] == rouge_l(PREDICTIONS, REFERENCES, "none").score
    assert computed["as given"]["rouge_l"] != computed["rouge_l"]["rouge_l"]


def test_combined_modules_return_all_scores_under_different_names(computed):
    single = [computed[name] for name in MODULES]
    assert len(MODULES) == 7
    assert computed["combined"] == {name: value for result in single for name, value in result.items()}
    assert len(computed["combined"]) == sum(map(len, single))


def test_combined_scores_are_saved(computed):
    assert computed["combined"].items() <= computed["saved"].items()


def test_documented_modules_exist():
    example = (ROOT / "docs" / "METRICS.md").read_text().split("## In the `evaluate` library")[1]
    assert 'f"eval/metrics/hf/{name}"' in example
    assert set(re.search(r"for name in \((.*?)\)", example)[1].replace('"', "").split(", ")) == set(MODULES)
