"""The Indiana benchmark: its stages, its evaluations, and the table of its results."""

import json
import math

import pytest
from rich.console import Console

from bench import iu
from data.study import load_studies
from eval.report.benchmark import benchmark_section
from vlm.schema.findings import view_index

ANNOTATION = {
    "train": [{"id": "CXR1_1_IM-0001", "report": "Clear.", "image_path": ["CXR1_1_IM-0001/0.png"], "split": "train"}],
    "val": [{"id": "CXR4_IM-2050", "report": "Normal.", "image_path": ["CXR4_IM-2050/0.png"], "split": "val"}],
}


@pytest.fixture
def options(tmp_path, running):
    (tmp_path / "annotation.json").write_text(json.dumps(ANNOTATION))

    def build(**settings):
        return iu.IUOptions(root=tmp_path, encoder="vits", running=running, **settings)

    return build


def steps(programs):
    return dict(programs)


def test_recipe_trains_text_probe_and_reports_and_is_judged_on_both_references(programs, running, options):
    assert iu.run_iu(options(), Console(quiet=True)) == []
    stages = ["text", "probe", "reports"]
    done = ["prepare studies", *stages, "judge full reports", "judge R2Gen references"]
    assert [step for step, _ in programs] == done
    shared, given = running.work / "shared", steps(programs)
    assert given["text"][1] == "text"
    assert f"--datasets={running.work}/studies" in given["text"]
    assert {"--encoder=vits", f"--decoder={shared}/text", f"--feature-cache={running.work}/features"} <= set(
        given["probe"]
    )
    assert "--encoder-layers=6" in given["probe"]
    assert {f"--encoder={shared}/probe", "--text-only-epochs=7", "--decide-findings"} <= set(given["reports"])
    assert f"--checkpoint={running.work}/recipe/reports/best" in given["judge full reports"]
    scored = given["judge R2Gen references"]
    assert scored[2] == f"{running.work}/recipe/on_full_reports/predictions.jsonl"
    assert {"--report-column=findings", "--normalization=r2gen", "--reference-split=test"} <= set(scored)
    assert not any(argument.startswith("--extra-dataset") for _, arguments in programs for argument in arguments)


def test_variants_share_their_stages_and_replace_one_choice(programs, running, options):
    assert (
        iu.run_iu(options(only=("recipe", "lstm", "fine_tuned", "cnn"), nih=running.work / "raw"), Console(quiet=True))
        == []
    )
    classifiers = [arguments for step, arguments in programs if step in ("probe", "findings", "cnn")]
    assert {f"--encoder={running.work}/shared/probe", "--no-lora", "--findings-epochs=2"} <= set(
        steps(programs)["findings"]
    )
    assert all(f"--extra-dataset={running.work}/nih" in arguments for arguments in classifiers)
    reports = [set(arguments) for step, arguments in programs if step == "reports"]
    outputs = {f"--output-dir={running.work}/{name}/reports" for name in ("recipe", "lstm", "fine_tuned", "cnn")}
    recipe, *others = [arguments - outputs for arguments in reports]
    shared = running.work / "shared"
    assert [arguments - recipe for arguments in others] == [
        {"--decoder=lstm"},
        {f"--encoder={shared}/findings"},
        {f"--encoder={shared}/cnn"},
    ]


def test_a_shared_stage_has_the_same_arguments_in_every_variant(programs, running, options):
    assert iu.run_iu(options(only=("all",)), Console(quiet=True)) == []
    for output in {
        argument for _, arguments in programs for argument in arguments if argument.startswith("--output-dir=")
    }:
        runs = {tuple(arguments) for _, arguments in programs if output in arguments}
        assert len(runs) == 1, output


def test_a_variant_starts_from_the_weights_that_ship(programs, running, options):
    assert iu.run_iu(options(only=("from_cxrscribe_tiny",)), Console(quiet=True)) == []
    given = steps(programs)
    classifier, reports = given["continued"], given["reports"]
    assert {"--init-from=cxrscribe-tiny", "--findings-epochs=4"} <= set(classifier)
    assert {f"--init-from={running.work}/shared/continued", "--text-only-epochs=7"} <= set(reports)
    assert not any(flag.startswith(("--encoder", "--decoder")) for flag in (*classifier, *reports))
    assert "text" not in given


def test_without_lateral_views_every_study_is_frontal(programs, running, options):
    assert iu.run_iu(options(only=("no_lateral",)), Console(quiet=True)) == []
    studies, frontal = (load_studies(running.work / name) for name in ("studies", "studies_frontal"))
    lateral = view_index("LATERAL")
    for split, rows in frontal.items():
        positions = dict(zip(rows["study_id"], rows["view_positions"], strict=True))
        assert all(lateral not in map(view_index, views) for views in positions.values())
        assert all(len(row["images"]) == len(row["view_positions"]) for row in rows)
        expected = [
            row["study_id"]
            for row in studies[split].select_columns(["study_id", "view_positions"])
            if any(view_index(view) != lateral for view in row["view_positions"])
        ]
        assert list(positions) == expected
    assert f"--dataset={running.work}/studies_frontal" in steps(programs)["probe_frontal"]


def test_an_archive_without_test_studies_has_frontal_studies_too(programs, running, options, monkeypatch):
    def without_test(folder):
        splits = load_studies(folder)
        if folder.name == "studies":
            splits["test"] = splits["test"].select([])
        return splits

    monkeypatch.setattr(iu, "load_studies", without_test)
    assert iu.run_iu(options(only=("no_lateral",)), Console(quiet=True)) == []
    assert set(load_studies(running.work / "studies_frontal")) == {"train", "validation"}


def test_smaller_training_sets_are_parts_of_larger_ones_and_validation_stays(programs, running, options):
    names = ("30_percent", "10_percent")
    assert iu.run_iu(options(only=names), Console(quiet=True)) == []
    studies, more, few = (load_studies(running.work / f"studies{suffix}") for suffix in ("", "_30", "_10"))
    ids = [set(part["train"]["study_id"]) for part in (few, more, studies)]
    assert ids[0] < ids[1] < ids[2]
    assert [len(part) for part in ids] == [math.ceil(len(ids[2]) * share) for share in (0.1, 0.3, 1)]
    assert few["validation"]["study_id"] == studies["validation"]["study_id"]
    given = steps(programs)
    assert {f"--datasets={running.work}/studies_10", "--num-epochs=25"} <= set(given["text_10"])
    assert {f"--dataset={running.work}/studies_30", "--findings-epochs=18"} <= set(given["probe_30"])


def test_wrong_options_are_named(tmp_path, running, options):
    with pytest.raises(ValueError, match="--only gpt3 is not a variant; choose from recipe, fine_tuned"):
        options(only=("gpt3",))
    with pytest.raises(ValueError, match=r"annotation.json is missing; give R2Gen's annotation.json as --annotation"):
        iu.IUOptions(root=tmp_path / "other", running=running)


def test_references_keep_r2gens_reports_and_splits(tmp_path, options):
    iu.write_references(options().annotation_file, tmp_path / "references.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "references.jsonl").read_text().splitlines()]
    assert rows == [
        {"study_id": "CXR1", "report": "Clear.", "split": "train"},
        {"study_id": "CXR4", "report": "Normal.", "split": "validation"},
    ]


def test_table_shows_variants_beside_published_figures(programs, running, options):
    iu.run_iu(options(only=("lstm", "recipe")), Console(quiet=True))
    records = [json.loads(path.read_text()) for path in (running.results / "iu").glob("*.json")]
    page = benchmark_section(records)
    lines = page.splitlines()
    table = next(number for number, line in enumerate(lines) if line.startswith("| variant | macro-F1"))
    assert lines[table + 2].startswith("| recipe | .123 | .123 |")
    assert lines[table + 3].startswith("| lstm |")
    assert "| DART, published | .208 | .411 | – |" in page
    assert "of the 9 test studies" in page
    for record in records:
        record["evaluations"]["full reports"]["split"] = "validation"
    assert "those of the 9 **validation** studies" in benchmark_section(records)
