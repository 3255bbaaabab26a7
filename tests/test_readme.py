"""The README: every program takes every flag that is given to it, and figures are those of docs/results. The commands
of the Makefile are checked, too."""

import json
import re
from pathlib import Path

import pytest

import app
from data import prepare
from data.audit import __main__ as audit
from data.pipeline import parquet
from eval import batch, compare, score, show
from page import report
from page.archive import __main__ as archive
from page.node import __main__ as node
from train import finetune
from vlm.schema.number_format import format_number, format_percent

ROOT = Path(__file__).parent.parent
PROGRAMS = {
    r"python -m data\.prepare (table|synthetic|dicom|open_i|mimic_cxr|kermany|nih|corrections)": prepare,
    r"python -m data\.audit": audit,
    r"python -m data\.pipeline\.parquet": parquet,
    r"train/finetune\.py": finetune,
    r"eval/batch\.py": batch,
    r"eval/show\.py": show,
    r"python -m eval\.score": score,
    r"python -m eval\.compare": compare,
    r"python -m page\.report": report,
    r"python -m page\.archive": archive,
    r"python -m page\.node": node,
    r"python app\.py": app,
}


def _commands():
    readme = "\n".join(re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    text = f"{readme}\n{(ROOT / 'Makefile').read_text()}"
    for command in re.sub(r"\\\n\s*", " ", text).splitlines():
        for pattern, program in PROGRAMS.items():
            if found := re.search(pattern, command):
                arguments = command[found.end() :]
                yield program, found.groups(), sorted(set(re.findall(r"(?<!\S)--[a-z][a-z.-]+", arguments)))


@pytest.mark.parametrize(
    "program, subcommand, flags", list(_commands()), ids=lambda value: getattr(value, "__name__", None)
)
def test_every_flag_of_a_documented_command_exists(program, subcommand, flags, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        program.main([*subcommand, "--help"])
    assert left.value.code in (0, None)
    explained = capsys.readouterr().out
    for flag in flags:
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", explained), f"{program.__name__} knows no {flag}"


def test_every_program_has_a_documented_command():
    assert {program for program, _, _ in _commands()} == set(PROGRAMS.values())


def _result(name):
    return json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())


def _score(name, metric, system="model"):
    return format_number(_result(name)["systems"][system]["metrics"][metric]["value"])


def _rate(name, rate):
    return format_percent(_result(name)["consistency"]["rates"][rate]["value"], decimals=0)


def _speed(name, task):
    [ratio] = [one["ratio"]["median"] for one in _result(name)["comparisons"] if one["name"] == task]
    return ratio


def _figures():
    """What the README says, with the figures of docs/results."""
    nih, pairs = "tiny_on_X-rays_of_adults_from_NIH", "tiny_on_synthetic_studies_with_a_prior_study"
    eight = _result("eight_candidates_on_synthetic_studies_with_a_prior_study")["metrics"]["temporal_f1"]["a"]["value"]
    int8 = _result("int8_on_synthetic_test")["metrics"]["macro_f1"]
    real = _result("int8_on_all_real_X-rays")
    [heart] = [one for one in _result(nih)["systems"]["model"]["per_finding"] if one["finding"] == "Cardiomegaly"]
    crossed, frontal = "laterality_conflict_rate", "tiny_on_frontal_X-rays_of_another_hospital"
    lateral = "tiny_on_X-rays_of_another_hospital_with_lateral_views"
    for name, words in ((frontal, "a macro-F1 of"), (lateral, "With the lateral views the macro-F1 is")):
        yield f"{words} {_score(name, 'macro_f1')} (shuffled images {_score(name, 'macro_f1', 'shuffled images')})"
    yield f"and the classifier a macro AUROC of {_score(frontal, 'macro_auroc')}. Sides"
    yield f"macro-F1 of {_score(nih, 'macro_f1')} (shuffled images {_score(nih, 'macro_f1', 'shuffled images')})"
    yield f"macro AUROC of {_score(nih, 'macro_auroc')}"
    right = round(heart["recall"]["value"] * heart["support"])
    wrong = heart["num_predicted"] - right
    yield f"Of {heart['support']} enlarged hearts the reports state {right}, and {wrong} that are not enlarged"
    yield f"in {_rate('tiny_on_synthetic_studies', crossed)} of single reports ({_rate(nih, crossed)} on adults"
    yield f"temporal F1 of {_score(pairs, 'temporal_f1')} ({format_number(eight)} with eight candidates, "
    yield f"{_score(pairs, 'temporal_f1', 'another prior')} with another patient's prior)"
    yield f"macro-F1 {format_number(int8['a']['value'])} and {format_number(int8['b']['value'])} on 392 synthetic"
    cider, meteor = (format_number(-real["metrics"][name]["difference"]["value"]) for name in ("cider", "meteor"))
    yield f"on {real['num_studies']:,} real X-rays CIDEr falls by {cider}"
    yield f"METEOR by {meteor}"
    here, without = (_speed(name, "reports, 1 study at a time, int8") for name in ("speed", "speed_without_AVX-512"))
    yield f"a report is written {here:.2f} times as fast as by transformers in fp32, and {without:.2f} times as fast on"


@pytest.mark.parametrize("claim", list(_figures()))
def test_figures_of_the_readme_are_those_of_the_results(claim):
    assert claim in " ".join((ROOT / "README.md").read_text().split())


@pytest.mark.parametrize(
    "comparison, evaluation",
    [
        ("eight_candidates_on_synthetic_test", "tiny_on_synthetic_studies"),
        ("eight_candidates_on_synthetic_studies_with_a_prior_study", "tiny_on_synthetic_studies_with_a_prior_study"),
        ("eight_candidates_on_real_pneumonia_X-rays", "tiny_on_real_pneumonia_X-rays"),
        ("eight_candidates_on_X-rays_of_adults_from_NIH", "tiny_on_X-rays_of_adults_from_NIH"),
        ("int8_on_synthetic_test", "tiny_on_synthetic_studies"),
        ("int8_on_all_real_X-rays", "tiny_on_all_real_X-rays"),
    ],
)
def test_comparisons_are_of_the_weights_that_ship(comparison, evaluation):
    """Each comparison has the reports of the evaluation as its second system."""
    compared = {name: found["b"]["value"] for name, found in _result(comparison)["metrics"].items()}
    metrics = _result(evaluation)["systems"]["model"]["metrics"]
    for name in ("macro_f1", "cider", "chrf"):
        assert compared[name] == pytest.approx(metrics[name]["value"], abs=1e-9), name
