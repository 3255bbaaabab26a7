"""Experiments: the programs that they run, replaced by fakes, and their records."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench import ablations, data_scaling
from bench.experiment.experiment import Evaluation, Experiment, Stage, run_experiment, run_experiments
from bench.experiment.recipe import Recipe
from tests.helpers.evaluations import ESTIMATE
from train.loop import step


def trial(**settings):
    given = {
        "group": "trials",
        "name": "first",
        "description": "a trial",
        "dataset": Path("runs/data"),
        "stages": (Stage(name="base", flags=("--no-lora",)), Stage(name="reports", flags=("--num-epochs=1",))),
        "evaluations": (Evaluation(name="synthetic", dataset=Path("runs/synthetic"), num_studies=9),),
    }
    return Experiment(**given | settings)


def test_stages_start_from_each_other_and_the_last_is_evaluated(programs, running):
    run_experiment(trial(), running)
    assert [name for name, _ in programs] == ["base", "reports", "judge synthetic"]
    base, reports, judged = (arguments for _, arguments in programs)
    assert not [argument for argument in base if argument.startswith(("--init-from", "--resume"))]
    assert {"--no-lora", "--dataset=runs/data", "--precision=bf16", "--num-workers=0"} <= set(base)
    assert f"--init-from={running.work}/first/base" in reports
    assert f"--checkpoint={running.work}/first/reports/best" in judged
    assert {"--dataset=runs/synthetic", "--split=test", "--num-studies=9"} <= set(judged)


@pytest.mark.parametrize("is_fast, precision", [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_the_faster_one(programs, running, monkeypatch, is_fast, precision):
    monkeypatch.setattr(step, "is_bf16_fast", lambda: is_fast)
    assert not run_experiments([trial()], replace(running, precision="auto"), Console())
    assert f"--precision={precision}" in programs[0][1]
    record = json.loads((running.results / "trials" / "first.json").read_text())
    assert record["training"]["precision"] == precision


def test_record_has_metrics_cost_and_size(programs, running):
    run_experiment(trial(), running)
    record = json.loads((running.results / "trials" / "first.json").read_text())
    base = record["training"]["stages"][0]
    assert (base["flags"], base["cpu_seconds"], base["num_attempts"]) == (["--no-lora"], 20, 2)
    assert record["num_parameters"] > 1000
    evaluation = record["evaluations"]["synthetic"]
    rounded = ESTIMATE | {"value": 0.12346}
    assert evaluation["systems"]["model"]["metrics"] == {"macro_f1": rounded, "micro_accuracy": rounded}
    assert evaluation["systems"]["shuffled images"]["metrics"] == {"macro_f1": rounded}
    assert evaluation["systems"]["model"]["per_finding"] == [{"finding": "Edema", "support": 7, "auroc": rounded}]


def test_started_stage_is_resumed(programs, running):
    begun = running.work / "first" / "base"
    begun.mkdir(parents=True)
    (begun / "training_config.json").write_text("{}")
    run_experiment(trial(), running)
    assert "--resume" in programs[0][1]
    assert "--resume" not in programs[1][1]


def test_finished_experiment_is_skipped_and_another_with_its_name_is_rejected(programs, running):
    record = run_experiment(trial(), running)
    programs.clear()
    assert run_experiment(trial(), running) == json.loads(json.dumps(record))
    assert programs == []
    other = trial(stages=(Stage(name="base", flags=("--no-lora", "--seed=1")),))
    with pytest.raises(ValueError, match=r"first.json is of another experiment: stages .*; delete it"):
        run_experiment(other, running)


def ablation_options(running, **settings):
    given = {"synthetic": Path("runs/synthetic"), "pneumonia": Path("runs/kermany"), "running": running}
    return ablations.AblationOptions(**given | settings)


def test_each_ablation_replaces_only_its_choice():
    written = {name: recipe.stages() for name, (_, recipe) in ablations.variants(Recipe(), "runs/mae").items()}
    full = written.pop("full")

    def changed(name):
        return [set(stage.flags) ^ set(of_full.flags) for stage, of_full in zip(written[name], full, strict=True)]

    assert changed("no_lora") == [set(), {"--no-lora"}]
    assert changed("lstm") == [{"--decoder=nano", "--decoder=lstm-nano"}, {"--no-lora"}]
    assert changed("no_finding_tokens") == [{"--no-finding-tokens"}, set()]
    assert changed("resnet") == [{"--encoder=cnn", "--encoder=resnet"}, set()]
    assert changed("vit_mae")[0] - changed("vit")[0] == {"--encoder=runs/mae"}
    epochs = {"--num-epochs=7", "--text-only-epochs=3", "--num-epochs=4", "--text-only-epochs=0"}
    assert changed("no_language") == [epochs, {"--no-lora"}]
    assert set(written) == {"no_lora", "lstm", "no_language", "no_finding_tokens", "resnet", "vit", "vit_mae"}


def test_without_report_epochs_there_is_only_the_base():
    base, _ = Recipe().stages()
    assert Recipe(report_epochs=0).stages() == (base,)


def test_ablations_train_on_joined_studies_and_are_evaluated_on_both(programs, running):
    options = ablation_options(running, only=("full", "lstm"), num_studies=600, num_pneumonia=150)
    assert ablations.run_ablations(options, Console(quiet=True)) == []
    join = programs[0][1]
    assert join[join.index("--take-train") + 1 :][:2] == ["600", "150"]
    assert f"--dataset={running.work}/studies" in programs[1][1]
    of_a_variant = ["base", "reports", "judge synthetic", "judge pneumonia"]
    assert [step for step, _ in programs] == ["join", *of_a_variant, *of_a_variant]
    assert sorted(path.stem for path in running.results.rglob("*.json")) == ["full", "lstm"]


def test_without_pneumonia_x_rays_only_synthetic_studies_are_used(programs, running):
    options = ablation_options(running, pneumonia=None, only=("full",), num_studies=600)
    ablations.run_ablations(options, Console(quiet=True))
    assert [name for name, _ in programs] == ["base", "reports", "judge synthetic"]
    assert {"--dataset=runs/synthetic", "--num-studies=600"} <= set(programs[0][1])


def test_failed_variant_is_reported_and_the_others_run(programs, running):
    programs.failing = ("judge pneumonia",)
    options = ablation_options(running, only=("full", "lstm"))
    assert ablations.run_ablations(options, Console(quiet=True)) == ["full", "lstm"]


def test_unknown_variant_is_rejected(running):
    with pytest.raises(ValueError, match=r"--only vit_mae is not a variant; .* vit_mae needs --encoder"):
        ablation_options(running, only=("vit_mae",))


def test_data_scaling_has_the_same_number_of_steps_for_all_numbers_of_studies(programs, running, small_dataset):
    options = data_scaling.DataScalingOptions(
        synthetic=small_dataset, running=running, num_studies=(4, 16), decoders=("nano",)
    )
    assert data_scaling.run_data_scaling(options, Console(quiet=True)) == []
    bases = [arguments for step, arguments in programs if step == "base"]
    assert {"--num-studies=4", "--repeats=4"} <= set(bases[0])
    assert {"--num-studies=16", "--repeats=1"} <= set(bases[1])
    judged = next(arguments for step, arguments in programs if step == "judge synthetic")
    assert "--neighbor-pool=4" in judged
    record = json.loads((running.results / "data_scaling" / "4-nano.json").read_text())
    assert record["about"] == {"num_studies": 4, "encoder": "cnn", "decoder": "nano"}


def test_data_scaling_rejects_numbers_without_equal_steps_or_enough_studies(running, small_dataset):
    with pytest.raises(ValueError, match="--num-studies 3 does not divide 16"):
        data_scaling.DataScalingOptions(synthetic=small_dataset, running=running, num_studies=(3, 16))
    with pytest.raises(ValueError, match=r"--only 5-nano is not an experiment; choose from 4-nano, 16-nano, 4-tiny"):
        data_scaling.DataScalingOptions(synthetic=small_dataset, running=running, num_studies=(4, 16), only=("5-nano",))
    options = data_scaling.DataScalingOptions(synthetic=small_dataset, running=running, num_studies=(17,))
    with pytest.raises(ValueError, match=r"--num-studies 17: .* has only 16 training studies"):
        data_scaling.run_data_scaling(options, Console(quiet=True))
