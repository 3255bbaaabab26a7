"""CheXbert scores, with tiny random weights in the layout of the original file."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertConfig, BertModel

from eval.metrics.clinical import f1_scores
from eval.metrics.learned.chexbert import CONVERT, label_with_chexbert
from eval.metrics.learned.registry import learned_scores

REPORTS = [
    "the heart is large .",
    "no pleural effusion",
    "",
    "the lungs is clear . " * 10,
    "no effusion",
    "large heart",
]


@pytest.fixture
def state(tiny_bert):
    """Weights with the names of the original file: BERT with its pooler, and 14 heads."""
    bert = BertModel(BertConfig.from_pretrained(tiny_bert)).eval()
    state = {f"bert.{name}": value for name, value in bert.state_dict().items()}
    state["bert.embeddings.position_ids"] = torch.arange(24)[None]
    for head in range(14):
        state[f"linear_heads.{head}.weight"] = torch.randn(4 if head < 13 else 2, 16)
        state[f"linear_heads.{head}.bias"] = torch.randn(4 if head < 13 else 2)
    return state


@pytest.fixture
def chexbert(tiny_bert, state):
    save_file(state, tiny_bert / "model.safetensors", {"format": "pt"})
    return tiny_bert


@torch.inference_mode()
def test_label_is_the_highest_output_of_each_head_for_the_first_token(chexbert, state):
    bert = BertModel(BertConfig.from_pretrained(chexbert)).eval()
    bert.load_state_dict({name[5:]: value for name, value in state.items() if name[5:] in bert.state_dict()})
    tokenizer = AutoTokenizer.from_pretrained(chexbert)
    expected = []
    for report in REPORTS:
        tokens = tokenizer(report, truncation=True, max_length=24, return_tensors="pt")
        first = bert(**tokens).last_hidden_state[0, 0]
        heads = ((state[f"linear_heads.{head}.weight"], state[f"linear_heads.{head}.bias"]) for head in range(14))
        expected.append([int((weight @ first + bias).argmax()) for weight, bias in heads])
    labels = label_with_chexbert(str(chexbert), REPORTS)
    assert labels.tolist() == expected
    assert len(set(map(tuple, expected))) > 1


def test_f1_equals_the_f1_of_the_labels_under_both_conventions(chexbert):
    predictions, references = REPORTS[:3], REPORTS[3:]
    scores = learned_scores("chexbert", str(chexbert), predictions, references)
    labels = label_with_chexbert(str(chexbert), predictions), label_with_chexbert(str(chexbert), references)
    for suffix, uncertain_is_positive in (("", True), ("_uncertain_negative", False)):
        expected = f1_scores(*labels, uncertain_is_positive)
        for name in ("macro_f1", "micro_f1", "macro_f1_5", "micro_f1_5"):
            value = scores.figures[f"chexbert_{name}{suffix}"]
            assert value == pytest.approx(expected[name] or np.nan, nan_ok=True)
    assert scores.figures_of(np.ones((7, 3)) @ scores.statistics)["chexbert_micro_f1"].shape == (7,)
    assert "uncertain counts as positive" in scores.note


def test_original_file_is_rejected_and_the_suggested_conversion_works(tiny_bert, state):
    torch.save(
        {"model_state_dict": {f"module.{name}": value for name, value in state.items()}}, tiny_bert / "chexbert.pth"
    )
    with pytest.raises(ValueError, match="because they can run code") as rejection:
        learned_scores("chexbert", str(tiny_bert), REPORTS, REPORTS)
    assert f'python -c "{CONVERT}"' in str(rejection.value)
    subprocess.run([sys.executable, "-c", CONVERT], cwd=tiny_bert, env=os.environ, check=True)
    assert label_with_chexbert(str(tiny_bert), REPORTS).shape == (6, 14)


def test_weights_without_a_head_are_rejected(tiny_bert, state):
    del state["linear_heads.13.bias"]
    save_file(state, tiny_bert / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 'linear_heads.13.bias' \(1 missing\)\. Give a folder"):
        learned_scores("chexbert", str(tiny_bert), REPORTS, REPORTS)
