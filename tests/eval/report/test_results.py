"""The page of results is written from the saved files."""

import json
from pathlib import Path

import pytest

from eval.report import results
from eval.report.results import ablation_section, data_scaling_section
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


def test_parts_run_and_views_become_a_section(tmp_path):
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    metrics = {"metrics": {"macro_f1": estimate, "macro_auroc": estimate, "cider": estimate}}
    control = metrics | {"differences": {"macro_f1": estimate}, "rates": {"other_findings": estimate}}
    views = {"num_studies": 7, "facts": ["The reports use the lateral view."], "descriptions": {"other_findings": "x"}}
    views["systems"] = {"model": metrics, "another lateral": control}
    document = {"run": _document(0.4)["run"], "views": views}
    (tmp_path / "views_on_Indiana.json").write_text(json.dumps(document))
    results.main([str(tmp_path / "views_on_Indiana.json"), "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "## Views on Indiana\n\n`runs/x` (hash 0123) on `studies`, split test.\n" in page
    assert "- The reports use the lateral view.\n\n7 studies have a frontal and a lateral view:" in page
    cell = ".500 [.400, .600]"
    assert f"| another lateral | {cell} | {cell} | {cell} | {cell} | – | 50.0% [40.0%, 60.0%] | – |" in page


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


def _estimate(value):
    return {"value": value, "low": round(value - 0.1, 3), "high": round(value + 0.1, 3), "num_undefined": 0}


def _record(name, value, *, group="ablations", pneumonia=False, differences=None, **about):
    metrics = {"macro_f1": value, "cider": value + 0.01, "macro_auroc": value + 0.02, "pooled_calibration_error": 0.15}
    systems = {
        "model": {"metrics": {metric: _estimate(figure) for metric, figure in metrics.items()}, "per_finding": []},
        "shuffled images": {"metrics": {"macro_f1": _estimate(0.12)}},
        "nearest neighbor": {"metrics": {"macro_f1": _estimate(0.3), "cider": _estimate(0.31)}},
    }
    evaluated = {"dataset": "runs/synthetic", "split": "test", "num_studies": 400, "systems": systems}
    evaluations = {"synthetic": evaluated | {"differences": {"full": differences} if differences else {}}}
    if pneumonia:
        found = {"finding": "Pneumonia", "auroc": _estimate(0.97), "accuracy": _estimate(0.9)}
        systems = {"model": {"metrics": {}, "per_finding": [{"finding": "Edema"}, found]}}
        evaluations["pneumonia"] = evaluated | {"systems": systems, "differences": {}}
    return {
        "group": group,
        "name": name,
        "description": f"description of {name}",
        "about": about,
        "training": {
            "dataset": "runs/both",
            "threads": 1,
            "stages": [
                {"name": "base", "flags": ["--encoder=cnn"], "cpu_seconds": 1000.4},
                {"name": "reports", "flags": [], "cpu_seconds": 234.0},
            ],
        },
        "num_parameters": 1_661_478,
        "evaluations": evaluations,
        "commit": "abc",
        "machine": {"processor": "a processor"},
    }


def test_ablation_rows_start_with_the_full_recipe_then_the_best():
    records = [_record("vit", 0.4), _record("no_lora", 0.7), _record("full", 0.6, pneumonia=True)]
    page = ablation_section("ablations", records)
    rows = [line for line in page.splitlines() if line.startswith(("| full", "| vit", "| no_lora"))]
    assert [row.split(" | ")[0] for row in rows] == ["| full", "| no_lora", "| vit"]
    assert rows[0] == (
        "| full | .600 [.500, .700] | .120 [.020, .220] | – | .610 [.510, .710] | .620 [.520, .720] "
        "| .150 [.050, .250] | .970 [.870, 1.070] | .900 [.800, 1.000] | – | 1,661,478 | 1,234 |"
    )
    assert rows[1].endswith("| – | – | – | 1,661,478 | 1,234 |")
    assert "- vit: description of vit" in page
    assert "base: `--encoder=cnn`" in page
    assert "Paired differences" not in page


def test_no_pneumonia_columns_without_pneumonia_x_rays():
    page = ablation_section("ablations", [_record("full", 0.6)])
    assert "pneumonia" not in page


def test_paired_differences_to_the_full_recipe():
    records = [_record("full", 0.6), _record("lstm", 0.5, differences={"macro_f1": _estimate(-0.2)})]
    assert "| lstm | synthetic | -.200 [-.300, -.100] | – | – | – |" in ablation_section("ablations", records)


def test_data_scaling_rows_by_number_of_studies_with_the_nearest_neighbor():
    records = [
        _record("2000-nano", 0.5, group="data_scaling", num_studies=2000, encoder="cnn", decoder="nano"),
        _record("500-nano", 0.4, group="data_scaling", num_studies=500, encoder="cnn", decoder="nano"),
    ]
    page = data_scaling_section("data_scaling", records, "data_scaling.svg")
    rows = [line for line in page.splitlines() if line.startswith(("| 500", "| 2,000"))]
    assert rows[0].startswith("| 500 | cnn | nano | .400 [.300, .500] | .300 [.200, .400] | .120 [.020, .220] |")
    assert rows[1].startswith("| 2,000 |")
    assert "(data_scaling.svg)" in page


def test_folder_of_experiments_gives_tables_and_a_reproducible_chart(tmp_path):
    records = [
        _record(f"{number}-nano", 0.4, group="data_scaling", num_studies=number, encoder="cnn", decoder="nano")
        for number in (500, 2000)
    ]
    for record in [*records, _record("full", 0.6)]:
        path = tmp_path / "saved" / record["group"] / f"{record['name']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    images = []
    for _ in range(2):
        results.main([str(tmp_path / "saved"), "--output", str(tmp_path / "page.md")])
        images.append((tmp_path / "data_scaling.svg").read_bytes())
    page = (tmp_path / "page.md").read_text()
    assert page.index("## Ablations") < page.index("## Data scaling")
    assert images[0] == images[1]
    image = images[0].decode()
    assert "GPT-2 nano: nearest training study" in image
    assert "2,000" in image


def test_growth_has_a_table_and_a_chart(tmp_path):
    def figures(seconds, memory):
        return {"cpu_seconds": seconds, "peak_mib": memory, "processor": "a processor", "commit": "0123"}

    programs = {
        "data.audit": {"1000": figures(6.0, 225), "10000": figures(24.0, 1500)},
        "eval.score": {"1000": figures(19.0, 400)},
    }
    record = {"group": "growth", "simulated": "The studies are simulated.", "programs": programs}
    (tmp_path / "growth.json").write_text(json.dumps(record))
    results.main([str(tmp_path / "growth.json"), "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "| program | 1,000 studies | 10,000 studies | time per study |" in page
    assert "| `data.audit` | 6 s, 225 MiB | 24 s, 1,500 MiB | 2.0 ms |" in page
    assert "| `eval.score` | 19 s, 400 MiB | – | – |" in page
    assert "The studies are simulated." in page and "(growth.svg)" in page
    assert "peak memory in MiB" in (tmp_path / "growth.svg").read_text()


def test_speed_has_a_table_of_ratios_and_names_the_machine(tmp_path):
    ratio = {"median": 1.234, "least": 1.0, "most": 1.5}
    machine = {"processor": "a processor", "cores": 2, "torch_threads": 1}
    record = {
        "comparisons": [{"name": "reports, 1 study", "ratio": ratio, "one_means": "as fast as transformers"}],
        "machine": machine,
        "load_average": {"before": 0.1, "after": 2.0},
        "sizes": {"encoder": "base", "image_size": 224, "num_new_tokens": 60, "pool": 4},
    }
    (tmp_path / "speed.json").write_text(json.dumps(record))
    results.main([str(tmp_path), "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "| reports, 1 study | 1.23 | 1.00 to 1.50 | as fast as transformers |" in page
    assert "a processor (instructions not recorded), 2 cores, 1 threads, load average 0.1 at the start" in page
    machine["instructions"] = "AVX2"
    (tmp_path / "speed_on_another_machine.json").write_text(json.dumps(record))
    results.main([str(tmp_path), "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "## Speed\n" in page and "## Speed on another machine\n" in page
    assert "a processor (AVX2), 2 cores" in page


def test_unknown_file_is_rejected(tmp_path):
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(ValueError, match=r"odd.json is neither a metrics.json .* leave it out"):
        results.main([str(tmp_path), "--output", str(tmp_path / "page.md")])
