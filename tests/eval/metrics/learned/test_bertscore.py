"""BERTScore of a tiny random BERT, compared with the definition pair by pair without padding."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, GPT2Config, RobertaConfig, RobertaModel, RobertaTokenizer

from eval.metrics.learned.registry import learned_scores

PREDICTIONS = ["the heart is normal in size", "no effusion .", "", "lungs lungs lungs", "large " * 30]
REFERENCES = ["heart size is normal", "no pleural effusion .", "clear", "the lungs", "large " * 40]


@pytest.fixture
def bert(tiny_bert):
    model = BertModel(BertConfig.from_pretrained(tiny_bert)).eval()
    model.save_pretrained(tiny_bert)
    return model


def expected_f1(bert, tokenizer, prediction, reference):
    """F1 by the formula; start and end tokens can be matched but are not counted."""
    unit = []
    for text in (prediction, reference):
        tokens = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")
        hidden = bert(**tokens, output_hidden_states=True).hidden_states[3][0]
        unit.append(hidden / hidden.norm(dim=-1, keepdim=True))
    similarity = unit[0] @ unit[1].T
    precision = similarity.max(dim=1).values[1:-1].mean()
    recall = similarity.max(dim=0).values[1:-1].mean()
    return float(2 * precision * recall / (precision + recall))


@torch.inference_mode()
def test_bertscore_equals_its_definition(bert, tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    scores = learned_scores("bertscore", str(tiny_bert), PREDICTIONS, REFERENCES)
    expected = [
        expected_f1(bert, tokenizer, *pair) if all(pair) else 0.0 for pair in zip(PREDICTIONS, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(scores.per_study["bertscore_f1"], expected, atol=1e-6)
    assert scores.figures["bertscore_f1"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_equal_reports_score_one_for_any_length(bert, tiny_bert):
    reports = ["no effusion", "the heart is large . the lungs clear ."]
    scores = learned_scores("bertscore", str(tiny_bert), reports, reports)
    np.testing.assert_allclose(scores.per_study["bertscore_f1"], 1.0, atol=1e-6)


def test_headings_do_not_count(bert, tiny_bert):
    scores = learned_scores("bertscore", str(tiny_bert), ["Findings: no effusion"], ["no effusion"])
    assert scores.figures["bertscore_f1"] == pytest.approx(1.0, abs=1e-6)


def test_model_and_layer_are_in_the_note(bert, tiny_bert):
    assert "bert, layer 3 of 3" in learned_scores("bertscore", str(tiny_bert), ["clear"], ["clear"]).note


def test_roberta_treats_the_first_word_like_other_words(tmp_path):
    """The tokenizer includes the space in a word, so bert-score adds a space before the first word."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "n", "o", "no", "Ġ", "Ġn", "Ġno"]
    merges = [("Ġ", "n"), ("Ġn", "o"), ("n", "o")]
    vocabulary = {word: index for index, word in enumerate(words)}
    RobertaTokenizer(vocab=vocabulary, merges=merges).save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    roberta = RobertaModel(RobertaConfig(vocab_size=10, max_position_embeddings=12, initializer_range=0.3, **sizes))
    roberta.save_pretrained(tmp_path)
    first = roberta.eval()(torch.tensor([[0, 9, 2]])).last_hidden_state[0, 1]
    both = roberta(torch.tensor([[0, 9, 9, 2]])).last_hidden_state[0, 1:3]
    similarity = torch.nn.functional.cosine_similarity(both, first[None]).detach()
    scores = learned_scores("bertscore", str(tmp_path), ["no", "no " * 30], ["no no", "no " * 40])
    assert scores.per_study["bertscore_precision"][0] == pytest.approx(float(similarity.max()), abs=1e-6)
    assert scores.per_study["bertscore_f1"][1] == pytest.approx(1.0, abs=1e-6)


def test_pickled_weights_are_rejected(tiny_bert):
    (tiny_bert / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"bertscore=.*because they can run code\. Give a folder"):
        learned_scores("bertscore", str(tiny_bert), ["clear"], ["clear"])


def test_model_of_another_type_is_rejected(bert, tiny_bert):
    GPT2Config().save_pretrained(tiny_bert)
    with pytest.raises(ValueError, match="this is a gpt2, not one of bert, distilbert, roberta"):
        learned_scores("bertscore", str(tiny_bert), ["clear"], ["clear"])
