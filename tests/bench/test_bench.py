"""The benchmark: equal work on both sides, the direction of ratios, the record. Speeds are not tested."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import run
from bench.speed import memory, models
from bench.speed.compare import Comparison, Task, compare
from bench.speed.inputs import make_batch
from bench.speed.models import num_reports, work_of_both
from bench.speed.sizes import FULL, QUICK


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The record of the program at small sizes; memory is measured for one activity only, to save time."""
    output = tmp_path_factory.mktemp("bench") / "results" / "quick.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "ACTIVITIES", ("train",))
        run.main(["--quick", "--output", str(output)])
    assert [path.name for path in output.parent.iterdir()] == ["quick.json"]
    return json.loads(output.read_text())


# The loader forks its worker; Python 3.12 warns about that if torch has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def test_record_has_measurements_machine_and_versions(record):
    assert record["quick"] is True
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["torch_threads"] == torch.get_num_threads()
    assert record["versions"]["torch"] == torch.__version__
    assert record["sizes"]["num_new_tokens"] == QUICK.num_new_tokens
    names = " | ".join(row["name"] for row in record["comparisons"])
    for measured in (
        "memory: training",
        "reports, 1 study",
        "reports, 3 studies",
        "reports, 1 study at a time, int8",
        "training with LoRA",
        "LoRA not merged",
        "synthetic studies drawn",
        "synthetic studies prepared, one process",
        "JPEGs prepared",
        "PNGs prepared",
        "DICOM files of 12 bits prepared",
        "studies loaded,",
        "loaded and augmented",
        "augmented from memory",
    ):
        assert measured in names


def test_only_the_measurements_with_a_text_in_their_name_are_run(tmp_path):
    output = tmp_path / "some.json"
    run.main(["--quick", "--cpu-time", "--only", "LoRA not merged", "--output", str(output)])
    record = json.loads(output.read_text())
    assert [row["name"] for row in record["comparisons"]] == ["reports with LoRA not merged, 1 study at a time"]
    assert record["cpu_time"] is True
    with pytest.raises(ValueError, match="--only 'nothing' is in the name of no measurement"):
        run.main(["--quick", "--only", "nothing", "--output", str(output)])


def test_each_ratio_belongs_to_its_repetition(record):
    for row in record["comparisons"]:
        assert row["one_means"]
        pairs = zip(row["ours"]["values"], row["reference"]["values"], strict=True)
        ratios = [b / a if row["unit"] == "GiB" else a / b for a, b in pairs]
        assert row["ratio"]["values"] == pytest.approx(ratios)
        assert row["ratio"]["least"] <= row["ratio"]["median"] <= row["ratio"]["most"]
        assert all(value > 0 for value in ratios)


def test_both_sides_have_the_same_patches_and_number_of_tokens(record):
    work = record["work"]
    assert work["patches_of_an_image"] == {"ours": 16, "hf_baseline": 16}
    assert work["new_tokens_of_a_report"] == {"ours": 6, "hf_baseline": 6}
    assert work["decoder_positions_before_the_text"]["ours"] == 4 + 14  # 4 x 4 patches pooled by 2, and the findings


def test_reports_have_full_length_on_both_sides():
    batch = make_batch(QUICK, 3)
    ours = models.generate_ours(models.build_ours(QUICK, lora=False), batch, 7)
    baseline = models.generate_hf(models.build_hf(QUICK, lora=False), batch["pixel_values"][:, 0], 7)
    assert [len(report) for report in ours + baseline] == [7] * 6
    with pytest.raises(AssertionError):
        num_reports(ours, QUICK)


def test_encoder_and_gpt2_have_equal_sizes_on_both_sides():
    model, baseline = models.build_ours(QUICK, lora=False), models.build_hf(QUICK, lora=False)

    def shapes(module):
        return sorted(tuple(p.shape) for name, p in module.named_parameters() if "cross" not in name)

    assert shapes(model.encoder.backbone) == shapes(baseline.encoder)
    assert shapes(model.decoder.language_model) == shapes(baseline.decoder)


def test_hf_baseline_trains_only_adapters_on_all_projections_of_its_decoder():
    model = models.build_hf(QUICK, lora=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name for name in trained)
    assert len(trained) == 3 * 7 * 2  # layers, projections (three of them of the cross-attention), A and B


def test_training_steps_learn_the_same_reports_on_both_sides():
    batch = make_batch(QUICK, 2)
    assert batch["input_ids"].shape == (2, 1 + QUICK.num_new_tokens)
    assert batch["attention_mask"].all()
    pixel_values, labels = batch["pixel_values"][:, 0], batch["input_ids"][:, 1:]
    steps = [
        models.make_our_step(models.build_ours(QUICK, lora=True), batch),
        models.make_hf_step(models.build_hf(QUICK, lora=True), pixel_values, labels),
    ]
    for step in steps:
        losses = [step() for _ in range(8)]
        assert losses[0] == pytest.approx(np.log(QUICK.vocab_size), abs=1.5)
        assert losses[-1] < losses[0]


def test_full_size_is_vit_b16_with_gpt2_124m():
    assert FULL.decoder_architecture["n_embd"] == 768
    assert FULL.decoder_architecture["n_layer"] == 12
    assert (FULL.vocab_size, FULL.image_size, FULL.num_new_tokens, FULL.num_studies) == (50257, 224, 60, 16)


def test_sides_alternate_after_a_warm_up_run_of_each():
    calls, now = [], iter(range(1000))

    def side(name, num_studies):
        return lambda: (calls.append(name), num_studies)[1]

    steps = []
    task = Task(
        name="x",
        one_means="equal",
        prepare=lambda: (side("ours", 6), side("reference", 3)),
        repetitions=2,
        clock=lambda: next(now),
    )
    comparison = compare(task, on_step=lambda: steps.append(1))
    assert calls == ["ours", "reference"] * 3
    assert comparison.ours == (6.0, 6.0)
    assert comparison.ratios == (2.0, 2.0)
    assert len(steps) == task.num_steps


def test_reference_can_be_a_target_speed():
    now = iter(range(1000))
    task = Task(name="x", one_means="50/s", prepare=lambda: (lambda: 75, 50.0), repetitions=3, clock=lambda: next(now))
    assert compare(task, on_step=lambda: None).ratios == (1.5, 1.5, 1.5)


def test_less_memory_is_a_ratio_above_one():
    comparison = Comparison(name="x", one_means="equal", unit="GiB", ours=(2.0,), reference=(3.0,))
    assert comparison.ratios == (1.5,)


def test_peak_memory_of_a_process_does_not_include_its_parent():
    held = np.ones(60_000_000)  # 0.45 GiB
    program = "from bench.speed.memory import peak_memory_gib; print(peak_memory_gib())"
    done = subprocess.run([sys.executable, "-c", program], cwd=memory.ROOT, capture_output=True, text=True, check=True)
    assert memory.peak_memory_gib() > held.nbytes / 2**30
    assert float(done.stdout) < 0.4


def test_failed_memory_process_is_reported(monkeypatch):
    monkeypatch.setattr(memory.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"bench.speed.memory ours generate --quick failed"):
        memory.compare_memory("generate", QUICK, quick=True, on_step=lambda: None)


def test_unequal_work_is_visible():
    pooled = work_of_both(replace(QUICK, pool=4))
    assert pooled["decoder_positions_before_the_text"]["ours"] == 1 + 14
