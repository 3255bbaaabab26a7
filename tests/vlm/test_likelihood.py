"""Log-probabilities of beginning a report with given texts, compared with one decoder run per text."""

import numpy as np
import pytest
import torch

from vlm.decoding import beginning_log_probabilities
from vlm.generator import ReportGenerator

TEXTS = ("Findings: The heart", "Findings: There is a small left pleural effusion", "F", "Impression: Cardiomegaly")


@pytest.fixture(scope="module", params=["gpt2", "lstm"])
def model(request, build_model):
    return build_model(kind=request.param)


def arguments(study_batch, only):
    names = ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")
    batch = study_batch(only=only)
    return {name: batch[name] for name in names}


def by_hand(model, prefix, tokens, bos):
    """The whole text at once, without a cache: the sum of what each token was given."""
    ids = torch.tensor([[bos, *tokens]])
    embeds = torch.cat([prefix.embeds, model.decoder.embed(ids[:, :-1])], dim=1)
    mask = torch.cat([prefix.mask, torch.ones(1, len(tokens), dtype=prefix.mask.dtype)], dim=1)
    logits, _ = model.decoder(embeds, mask, prefix.mask.shape[1])
    return sum(logits[0, place].log_softmax(dim=-1)[token] for place, token in enumerate(tokens)).item()


@torch.no_grad()
def test_text_log_probability_is_the_sum_over_its_tokens(model, study_batch, tiny_tokenizer):
    texts = [tiny_tokenizer.encode(text) for text in TEXTS]
    bos = tiny_tokenizer.bos_token_id
    found = beginning_log_probabilities(
        model, model.prefix(**arguments(study_batch, [0, 1, 2])), texts, bos_token_id=bos
    )
    for study in range(3):
        alone = model.prefix(**arguments(study_batch, [study]))
        expected = [by_hand(model, alone, tokens, bos) for tokens in texts]
        assert found[study].tolist() == pytest.approx(expected, abs=1e-3)


def test_probabilities_of_all_first_tokens_sum_to_1(model, study_batch, tiny_tokenizer):
    with torch.no_grad():
        prefix = model.prefix(**arguments(study_batch, [0, 1]))
    every = [[token] for token in range(len(tiny_tokenizer))]
    values = beginning_log_probabilities(model, prefix, every, bos_token_id=tiny_tokenizer.bos_token_id)
    assert values.exp().sum(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_longer_text_is_less_likely_than_its_beginning(tiny_checkpoint, images):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    texts = ["Findings:", "Findings: The heart", "Findings: The heart is enlarged."]
    values = generator.log_probabilities(images[:3], texts)
    assert values.shape == (3, 3)
    assert (np.diff(values, axis=1) < 0).all()
