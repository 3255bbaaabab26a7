"""Experiments: which programs they run and what they tell; the programs themselves are played by fakes."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from bench import ablations
from bench import data_scaling as growth
from bench.experiment import experiment
from bench.experiment.attempts import Attempt, StepError
from bench.experiment.experiment import Evaluation, Experiment, Running, Stage, run_experiment
from bench.experiment.recipe import Recipe

ESTIMATE = {"value": 0.123456789, "low": None, "high": None, "num_undefined": 0}
SYSTEM = {
    "metrics": {"macro_f1": ESTIMATE, "micro_accuracy": ESTIMATE, "cider": ESTIMATE | {"value": None}},
    "per_finding": [{"finding": "Edema", "support": 7, "auroc": ESTIMATE, "recall": ESTIMATE}],
    "distinct_ratio": 0.5,
}


@pytest.fixture
def programs(monkeypatch, tiny_checkpoint):
    """What was run: (step, arguments), in place of running it. A step in `.failing` ends with an error."""

    class Programs(list):
        failing = ()

    ran = Programs()

    def run_step(folder, step, arguments, *, threads):
        if step in ran.failing:
            raise StepError(f"{step} ended with status 1")
        ran.append((step, arguments))
        output = next((Path(flag.partition("=")[2]) for flag in arguments if flag.startswith("--output-dir=")), None)
        if arguments[0].endswith("finetune.py"):
            shutil.copytree(tiny_checkpoint, output / "best", dirs_exist_ok=True)
        elif output is not None:
            output.mkdir(parents=True, exist_ok=True)
            systems = {"model": SYSTEM, "shuffled images": SYSTEM}
            document = {"systems": systems, "studies": {"written": 9}, "verdict": {"image": "It does."}}
            (output / "metrics.json").write_text(json.dumps(document))

    def attempts_in(folder):
        return [
            Attempt(step="base", arguments=(), status=status, cpu_seconds=10, wall_seconds=11) for status in (-9, 0)
        ]

    for module in (experiment, ablations):
        monkeypatch.setattr(module, "run_step", run_step)
    monkeypatch.setattr(experiment, "attempts_in", attempts_in)
    return ran


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


@pytest.fixture
def running(tmp_path):
    return Running(work=tmp_path / "work", results=tmp_path / "results")


def test_stages_start_from_each_other_and_the_last_is_judged(programs, running):
    run_experiment(trial(), running)
    assert [step for step, _ in programs] == ["base", "reports", "judge synthetic"]
    base, reports, judged = (arguments for _, arguments in programs)
    assert not [argument for argument in base if argument.startswith(("--init-from", "--resume"))]
    assert {"--no-lora", "--dataset=runs/data", "--precision=bf16", "--num-workers=0"} <= set(base)
    assert f"--init-from={running.work}/first/base" in reports
    assert f"--checkpoint={running.work}/first/reports/best" in judged
    assert {"--dataset=runs/synthetic", "--split=test", "--num-studies=9"} <= set(judged)


def test_the_file_tells_figures_cost_and_size(programs, running):
    run_experiment(trial(), running)
    record = json.loads((running.results / "trials" / "first.json").read_text())
    base = record["training"]["stages"][0]
    assert (base["flags"], base["cpu_seconds"], base["num_attempts"]) == (["--no-lora"], 20, 2)
    assert record["num_parameters"] > 1000
    judged = record["evaluations"]["synthetic"]
    rounded = ESTIMATE | {"value": 0.12346}
    assert judged["systems"]["model"]["metrics"] == {"macro_f1": rounded, "micro_accuracy": rounded}
    assert judged["systems"]["shuffled images"]["metrics"] == {"macro_f1": rounded}
    assert judged["systems"]["model"]["per_finding"] == [{"finding": "Edema", "support": 7, "auroc": rounded}]


def test_a_stage_that_was_begun_is_resumed(programs, running):
    begun = running.work / "first" / "base"
    begun.mkdir(parents=True)
    (begun / "training_config.json").write_text("{}")
    run_experiment(trial(), running)
    assert "--resume" in programs[0][1]
    assert "--resume" not in programs[1][1]


def test_a_finished_experiment_is_skipped_and_another_of_its_name_rejected(programs, running):
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


def test_each_ablation_replaces_its_choice_and_nothing_else():
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


def test_without_epochs_of_reports_the_base_is_all_there_is():
    base, _ = Recipe().stages()
    assert Recipe(report_epochs=0).stages() == (base,)


def test_ablations_learn_the_joined_studies_and_are_judged_on_both(programs, running):
    options = ablation_options(running, only=("full", "lstm"), num_studies=600, num_pneumonia=150)
    assert ablations.run_ablations(options, Console(quiet=True)) == []
    join = programs[0][1]
    assert join[join.index("--take-train") + 1 :][:2] == ["600", "150"]
    assert f"--dataset={running.work}/studies" in programs[1][1]
    of_a_variant = ["base", "reports", "judge synthetic", "judge pneumonia"]
    assert [step for step, _ in programs] == ["join", *of_a_variant, *of_a_variant]
    assert sorted(path.stem for path in running.results.rglob("*.json")) == ["full", "lstm"]


def test_without_pneumonia_x_rays_synthetic_studies_are_learned_and_judged_alone(programs, running):
    options = ablation_options(running, pneumonia=None, only=("full",), num_studies=600)
    ablations.run_ablations(options, Console(quiet=True))
    assert [step for step, _ in programs] == ["base", "reports", "judge synthetic"]
    assert {"--dataset=runs/synthetic", "--num-studies=600"} <= set(programs[0][1])


def test_a_variant_that_fails_is_named_and_the_others_go_on(programs, running):
    programs.failing = ("judge pneumonia",)
    options = ablation_options(running, only=("full", "lstm"))
    assert ablations.run_ablations(options, Console(quiet=True)) == ["full", "lstm"]


def test_a_variant_that_is_not_there_is_rejected_by_name(running):
    with pytest.raises(ValueError, match=r"--only vit_mae is no variant; .* vit_mae needs --encoder"):
        ablation_options(running, only=("vit_mae",))


def test_growth_makes_the_same_number_of_steps_whatever_the_number_of_studies(programs, running, small_dataset):
    options = growth.GrowthOptions(synthetic=small_dataset, running=running, num_studies=(4, 16), decoders=("nano",))
    assert growth.run_growth(options, Console(quiet=True)) == []
    bases = [arguments for step, arguments in programs if step == "base"]
    assert {"--num-studies=4", "--repeats=4"} <= set(bases[0])
    assert {"--num-studies=16", "--repeats=1"} <= set(bases[1])
    judged = next(arguments for step, arguments in programs if step == "judge synthetic")
    assert "--neighbour-pool=4" in judged
    record = json.loads((running.results / "data_scaling" / "4-nano.json").read_text())
    assert record["about"] == {"num_studies": 4, "encoder": "cnn", "decoder": "nano"}


def test_growth_rejects_numbers_that_cannot_make_equal_steps_or_are_not_there(running, small_dataset):
    with pytest.raises(ValueError, match="--num-studies 3 does not divide 16"):
        growth.GrowthOptions(synthetic=small_dataset, running=running, num_studies=(3, 16))
    with pytest.raises(ValueError, match=r"--only 5-nano is no experiment; choose among 4-nano, 16-nano, 4-tiny"):
        growth.GrowthOptions(synthetic=small_dataset, running=running, num_studies=(4, 16), only=("5-nano",))
    options = growth.GrowthOptions(synthetic=small_dataset, running=running, num_studies=(17,))
    with pytest.raises(ValueError, match=r"--num-studies 17: .* has only 16 studies to learn"):
        growth.run_growth(options, Console(quiet=True))
