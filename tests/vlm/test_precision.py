"""Precision of inference: which layers become int8, "auto", reports, errors."""

import pytest
import torch

import vlm.precision
from page.study.record import model_identity
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.layers.int8 import Int8Linear, int8_problem
from vlm.precision import with_precision

CPU = torch.device("cpu")
SHORT = GenerationOptions(max_new_tokens=12)
needs_int8 = pytest.mark.skipif(bool(int8_problem(CPU)), reason="this processor has no int8 kernel")


def int8_layers(model):
    return {name for name, layer in model.named_modules() if isinstance(layer, Int8Linear)}


@needs_int8
@pytest.mark.parametrize("kind", ["gpt2", "lstm"])
def test_int8_is_for_encoder_and_gpt2_only(build_model, kind):
    model, precision = with_precision(build_model(kind=kind), "int8", CPU)
    assert precision == "int8"
    parts = {name.split(".")[0] for name in int8_layers(model)}
    assert parts == ({"encoder", "decoder"} if kind == "gpt2" else {"encoder"})
    linear = {name for name, layer in model.named_modules() if type(layer) is torch.nn.Linear}
    assert not [name for name in linear if name.startswith(("encoder.", "decoder.language_model."))]
    assert "finding_queries.key" in linear


@needs_int8
def test_int8_reports_are_near_those_in_fp32_and_do_not_depend_on_the_batch(tiny_checkpoint, images):
    exact, generator = (
        ReportGenerator.from_pretrained(tiny_checkpoint, device="cpu", precision=precision)
        for precision in ("fp32", "int8")
    )
    assert (exact.precision, generator.precision) == ("fp32", "int8")
    studies = [images[:2], images[2:3], images[3:4]]
    together = generator.generate(studies, options=SHORT)
    for views, report, other in zip(studies, together, exact.generate(studies, options=SHORT), strict=True):
        [alone] = generator.generate([views], options=SHORT)
        assert alone.report == report.report
        assert report.finding_probabilities == pytest.approx(other.finding_probabilities, abs=0.05)
        assert report.finding_probabilities != other.finding_probabilities
    assert model_identity(generator).name == f"{model_identity(exact).name} (int8)"
    assert model_identity(generator).hash == model_identity(exact).hash


@needs_int8
@pytest.mark.parametrize("faster", ["int8", "fp32"])
def test_auto_takes_the_faster_one(build_model, monkeypatch, faster):
    seconds = {True: 1.0 if faster == "int8" else 2.0, False: 1.5}
    monkeypatch.setattr(vlm.precision, "_seconds", lambda model: seconds[bool(int8_layers(model))])
    model, precision = with_precision(build_model(), "auto", CPU)
    assert precision == faster
    assert bool(int8_layers(model)) == (faster == "int8")


@needs_int8
@pytest.mark.parametrize("settings", [{}, {"kind": "lstm"}, {"writes_reports": False}])
def test_auto_measures_every_kind_of_model(build_model, settings):
    _, precision = with_precision(build_model(**settings), "auto", CPU)
    assert precision in ("fp32", "int8")


def test_int8_on_another_device_is_an_error_and_auto_is_fp32(tiny_model):
    with pytest.raises(ValueError, match=r"--precision int8: int8 runs on a CPU, not on cuda"):
        with_precision(tiny_model, "int8", torch.device("cuda"))
    assert with_precision(tiny_model, "auto", torch.device("cuda")) == (tiny_model, "fp32")
