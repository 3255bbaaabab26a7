"""The generator on studies with a prior study, and its checkpoints."""

import json

import numpy as np
import pytest
import torch

from vlm.checkpoint.store import Checkpoint, load_checkpoint, save_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior
from vlm.inputs.tokenizer import MAX_PRIOR_TOKENS, encode_prompt
from vlm.schema.findings import WITHOUT_CHANGE
from vlm.uncertainty import Calibration

SHORT = GenerationOptions(max_new_tokens=8)


@pytest.fixture(scope="module")
def with_prior(build_model, tiny_tokenizer):
    """The tiny model with prior parts whose weights are random; its other weights are those of `tiny_model`."""
    model = build_model()
    model.add_prior()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in (model.change_embedding, model.change_head.output, model.prior_embedding):
            parameter.normal_()
    calibration = Calibration(temperature=1.5, num_studies=10)
    return ReportGenerator(Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=calibration), device="cpu")


@pytest.fixture
def prior(images):
    return Prior(images=images[3:5], view_positions=["PA", "LATERAL"], report="Findings: No effusion.", interval_days=3)


def test_without_a_prior_reports_are_those_of_the_same_weights_without_prior_parts(tiny_checkpoint, with_prior, images):
    without = ReportGenerator.from_pretrained(tiny_checkpoint, device="cpu")
    for priors in (None, [None]):
        [own], [expected] = (
            with_prior.generate([images[0]], priors=priors, options=SHORT),
            without.generate([images[0]], options=SHORT),
        )
        assert own.report == expected.report
        assert own.token_log_probabilities == expected.token_log_probabilities
        assert own.finding_probabilities == expected.finding_probabilities
        assert own.change_probabilities is None and own.change_of(9) is None
    assert with_prior.classify([images[0]]) == without.classify([images[0]])


def test_mixed_batch_gives_each_study_its_own_report(with_prior, images, prior):
    together = with_prior.generate([images[0], images[1]], priors=[None, prior], options=SHORT)
    [first] = with_prior.generate([images[0]], options=SHORT)
    [second] = with_prior.generate([images[1]], priors=[prior], options=SHORT)
    assert [report.report for report in together] == [first.report, second.report]
    assert together[0].change_probabilities is None
    assert together[1].change_probabilities[9] == pytest.approx(second.change_probabilities[9], abs=1e-5)


def test_prior_changes_the_report_and_its_change_probabilities_and_not_the_findings(with_prior, images, prior):
    other = Prior(images=images[5:6])
    one, two = (with_prior.generate([images[0]], priors=[given], options=SHORT)[0] for given in (prior, other))
    assert one.token_log_probabilities != two.token_log_probabilities
    assert one.change_probabilities != two.change_probabilities
    assert one.finding_probabilities == two.finding_probabilities
    assert np.allclose(np.sum(one.change_probabilities, axis=1), 1, atol=1e-5)
    _, probability = one.change_of(9)
    assert probability == max(one.change_probabilities[9])
    assert one.change_of(WITHOUT_CHANGE) is None
    assert with_prior.classify([images[0]], priors=[prior]) == with_prior.classify([images[0]])


def test_every_way_to_decode_reads_the_prior(with_prior, images, prior):
    [expected] = with_prior.generate([images[0]], priors=[prior], options=SHORT)
    *_, streamed = with_prior.stream(images[0], prior=prior, options=SHORT)
    assert streamed.report == expected.report
    assert streamed.change_probabilities == expected.change_probabilities
    candidates = GenerationOptions(max_new_tokens=8, num_candidates=2)
    [[greedy, _]] = with_prior.generate_candidates([images[0]], priors=[prior], options=candidates)
    assert greedy.report == expected.report
    beams = GenerationOptions(max_new_tokens=8, num_beams=2)
    told, alone = (with_prior.generate([images[0]], priors=[given], options=beams)[0] for given in (prior, None))
    assert told.token_log_probabilities != alone.token_log_probabilities
    told, alone = (
        with_prior.log_probabilities([images[0]], ["Findings: The"], priors=given) for given in ([prior], None)
    )
    assert abs(told - alone).max() > 1e-3


def test_maps_of_sentences_show_the_current_image(with_prior, images, prior):
    report = "Findings: The heart is enlarged."
    maps = with_prior.sentence_maps(report, ["The heart is enlarged."], images[0], prior=prior)
    assert maps.shape == (1, 1, 4, 4)
    assert maps.sum() == pytest.approx(1, abs=1e-4)


def test_checkpoint_keeps_the_prior_parts_and_old_ones_load(with_prior, tiny_checkpoint, images, prior, tmp_path):
    generator = with_prior
    checkpoint = Checkpoint(model=generator.model, tokenizer=generator.tokenizer, calibration=generator.calibration)
    save_checkpoint(tmp_path / "model", checkpoint)
    loaded = ReportGenerator.from_pretrained(tmp_path / "model", device="cpu")
    assert loaded.reads_priors
    one, two = (part.generate([images[0]], priors=[prior], options=SHORT)[0] for part in (generator, loaded))
    assert one.report == two.report and one.change_probabilities == two.change_probabilities
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    assert config.pop("prior") is False
    old = tmp_path / "old"
    old.mkdir()
    for file in tiny_checkpoint.iterdir():
        (old / file.name).write_bytes(file.read_bytes())
    (old / "config.json").write_text(json.dumps(config))
    assert load_checkpoint(old).model.change_head is None


def test_mistakes_name_the_fault(tiny_checkpoint, with_prior, images, prior):
    without = ReportGenerator.from_pretrained(tiny_checkpoint, device="cpu")
    with pytest.raises(ValueError, match="was not trained with prior studies"):
        without.generate([images[0]], priors=[prior])
    with pytest.raises(ValueError, match="priors has 2 entries for 1 studies"):
        with_prior.generate([images[0]], priors=[prior, None])
    with pytest.raises(ValueError, match="prior study has no image"):
        Prior(images=[])
    with pytest.raises(ValueError, match="2 images but 1 view positions"):
        Prior(images=images[:2], view_positions=["PA"])


def test_report_of_the_prior_stands_before_the_indication_and_is_cut(tiny_tokenizer):
    prompt = tiny_tokenizer.decode(encode_prompt(tiny_tokenizer, "cough", "Findings:  The heart\nis normal."))
    assert prompt == "Prior report: Findings: The heart is normal.\nIndication: cough\n"
    long = encode_prompt(tiny_tokenizer, "", "word " * 500)
    assert len(long) == MAX_PRIOR_TOKENS
    assert tiny_tokenizer.decode(long).endswith("\n")
    assert encode_prompt(tiny_tokenizer, "cough") == encode_prompt(tiny_tokenizer, "cough", " ")
