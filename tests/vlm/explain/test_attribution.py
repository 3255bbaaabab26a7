"""Where sentences come from: attention of the decoder followed back to the patches, for both kinds of decoder."""

import numpy as np
import pytest
import torch

from vlm.checkpoint.store import Checkpoint
from vlm.explain.attention import over_patches, sentence_attention, sentence_spans
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.uncertainty import Calibration

REPORT = "Findings: The heart is enlarged.  There is a small\nleft pleural effusion. Impression: Cardiomegaly."
SENTENCES = ["The heart is enlarged.", "There is a small left pleural effusion.", "Cardiomegaly."]


@pytest.fixture(scope="module", params=["gpt2", "lstm"])
def generator(request, build_model, tiny_tokenizer):
    model = build_model(kind=request.param)
    return ReportGenerator(Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=Calibration()))


def test_sentences_are_found_with_any_blanks():
    spans = sentence_spans(REPORT, [*SENTENCES, "Not in it."])
    assert [" ".join(REPORT[start:end].split()) for start, end in spans] == [*SENTENCES, ""]


def test_repeated_sentence_is_found_twice():
    assert sentence_spans("Clear. Clear.", ["Clear.", "Clear."]) == [(0, 6), (7, 13)]


def test_each_sentence_has_its_own_map_over_all_views(generator, images):
    maps = generator.sentence_maps(REPORT, SENTENCES, images[:2], view_positions=["PA", "LATERAL"])
    assert maps.shape == (3, 2, 4, 4)
    assert maps.sum(axis=(1, 2, 3)) == pytest.approx(1, abs=1e-5)
    assert (maps >= 0).all()
    assert not np.allclose(maps[0], maps[1], atol=1e-6)


def test_sentence_maps_depend_only_on_the_images(generator, images):
    first, again, other = (
        generator.sentence_maps(REPORT, SENTENCES, image) for image in (images[0], images[0], images[2])
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-4)


def test_sentence_maps_do_not_change_generation(generator, images):
    options = GenerationOptions(max_new_tokens=12)
    [before] = generator.generate([images[0]], options=options)
    generator.sentence_maps(REPORT, SENTENCES, images[0])
    [after] = generator.generate([images[0]], options=options)
    assert after.report == before.report
    assert after.token_log_probabilities == before.token_log_probabilities


@pytest.mark.parametrize(("report", "sentences"), [("", []), ("", ["Clear."]), ("Findings: x", [])])
def test_empty_report_has_empty_maps(generator, images, report, sentences):
    maps = generator.sentence_maps(report, sentences, images[0])
    assert maps.shape == (len(sentences), 1, 4, 4)
    assert not maps.any()


def test_text_beyond_the_position_limit_is_cut(generator, images):
    sentences = ["The heart is enlarged."] * 12
    maps = generator.sentence_maps("Findings: " + " ".join(sentences), sentences, images[0])
    has_map = maps.any(axis=(1, 2, 3)).tolist()
    is_bounded = generator.model.decoder.num_positions is not None
    assert has_map == sorted(has_map, reverse=True)
    assert (has_map[0], has_map[-1]) == (True, not is_bounded)


def test_token_is_attributed_to_the_position_before_it(build_model, study_prefix):
    """The last token of the text is nobody's predecessor, so it may change without moving any attention."""
    model = build_model()
    prefix = study_prefix(model, only=(0,))
    spans = [(0, 1), (1, 2), (2, 3)]
    with torch.inference_mode():
        first, second = (
            sentence_attention(model, prefix, tokens, spans, spans, bos_token_id=0) for tokens in ([5, 6, 7], [5, 6, 9])
        )
        moved = sentence_attention(model, prefix, [8, 6, 7], spans, spans, bos_token_id=0)
    assert torch.equal(first, second)
    assert torch.equal(first[0], moved[0])
    assert not torch.allclose(first[1], moved[1])


def test_attention_of_gpt2_equals_that_of_transformers(build_model, study_prefix):
    model = build_model()
    prefix = study_prefix(model, only=(0,))
    with torch.inference_mode():
        got = model.decoder.prefix_attention(
            torch.cat([prefix.embeds, prefix.embeds[:, :2]], dim=1),
            torch.cat([prefix.mask, prefix.mask[:, :2]], dim=1),
            prefix.mask.shape[1],
        )
        query = model.decoder.language_model.transformer
        assert model.decoder.language_model.config._attn_implementation == "sdpa"
        model.decoder.language_model.set_attn_implementation("eager")
        expected = query(
            inputs_embeds=torch.cat([prefix.embeds, prefix.embeds[:, :2]], dim=1), output_attentions=True
        ).attentions
    mean = torch.stack([layer.mean(dim=1) for layer in expected]).mean(dim=0)
    assert torch.allclose(got, mean[:, -2:, : prefix.mask.shape[1]], atol=1e-6)


def test_attention_is_traced_to_the_patches_of_its_tokens(tiny_model):
    """The first image token stands for the four patches at the upper left; a finding token for what its query saw."""
    num_tokens = tiny_model.vision_projector.num_tokens
    attention = torch.zeros(2, num_tokens + 14)
    attention[0, 0] = 0.7
    attention[1, num_tokens + 3] = 0.2
    finding_attention = torch.zeros(14, 16)
    finding_attention[3, 9] = 1.0
    maps = over_patches(tiny_model, attention, finding_attention, 1)
    expected = torch.zeros(2, 1, 4, 4)
    expected[0, 0, :2, :2] = 0.25
    expected[1, 0, 2, 1] = 1.0
    assert torch.allclose(maps, expected)
