"""CheXbert F1 (Smit et al. 2020): a BERT with 14 heads labels both reports.

`where` is a folder or hub id with `config.json` and the tokenizer of bert-base-uncased, and `model.safetensors` with
`bert.*` and `linear_heads.0` to `linear_heads.13` (CheXpert's order; 4 states each, the last head 2). These are the
names in the original chexbert.pth without "module.". The original file is a pickle and is never opened here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertModel, BertPreTrainedModel

from eval.metrics.clinical import UNCERTAIN_IS_NEGATIVE, UNCERTAIN_IS_POSITIVE, confusion_counts, scores_from_counts
from eval.metrics.learned.bertscore import load_bert
from eval.metrics.learned.registry import LearnedScores
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.report_format import report_body

BATCH_SIZE = 16
CONVERT = (
    "import torch; from safetensors.torch import save_file; "
    "state = torch.load('chexbert.pth', map_location='cpu', weights_only=True)['model_state_dict']; "
    "state = {name.removeprefix('module.'): value.clone() for name, value in state.items()}; "
    "save_file(state, 'model.safetensors', {'format': 'pt'})"
)
FIX = (
    "Give a folder with config.json, vocab.txt and tokenizer_config.json of bert-base-uncased and model.safetensors, "
    f'converted once from chexbert.pth, if you trust it, with: python -c "{CONVERT}"'
)


class CheXbert(BertPreTrainedModel):
    """Heads on the first token: blank, positive, negative, uncertain; blank or positive for No Finding."""

    config_class = BertConfig
    _keys_to_ignore_on_load_unexpected = (r"^bert\.pooler\.", r"^bert\.embeddings\.position_ids$")

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        num_states = [4] * (NUM_FINDINGS - 1) + [2]
        self.linear_heads = nn.ModuleList(nn.Linear(config.hidden_size, states) for states in num_states)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """CheXbert's codes [reports, 14]."""
        first = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        return torch.stack([head(first).argmax(dim=-1) for head in self.linear_heads], dim=1)


def chexbert_f1(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """F1 of the CheXbert labels of both reports, under both conventions for uncertain.

    Raises:
        ValueError: the weights or the tokenizer cannot be loaded; says how to create them.
    """
    predicted, reference = np.split(label_with_chexbert(where, [*predictions, *references]), 2)
    counts = [confusion_counts(predicted, reference, is_positive) for is_positive in (True, False)]
    return LearnedScores(
        statistics=np.stack(counts, axis=1).reshape(len(predicted), -1).astype(np.float64),
        figures_of=_figures,
        note=f"CheXbert from {where}; {UNCERTAIN_IS_POSITIVE}; in names that end in uncertain_negative, "
        f"{UNCERTAIN_IS_NEGATIVE}; macro over the findings with a positive reference",
    )


@torch.inference_mode()
def label_with_chexbert(where: str, reports: Sequence[str]) -> np.ndarray:
    """CheXbert's codes [reports, 14] of reports without headings, truncated to the maximum length of the model."""
    model, tokenizer = load_bert("chexbert", where, {"bert": (CheXbert, {})}, fix=FIX)
    texts = [" ".join(report_body(report).split()) for report in reports]
    distinct = sorted(set(texts), key=len)
    codes: dict[str, np.ndarray] = {}
    for start in range(0, len(distinct), BATCH_SIZE):
        batch = distinct[start : start + BATCH_SIZE]
        max_length = model.config.max_position_embeddings
        tokens = tokenizer(batch, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        tokens = tokens.to(model.device)
        codes |= dict(zip(batch, model(tokens["input_ids"], tokens["attention_mask"]).cpu().numpy(), strict=True))
    return np.array([codes[text] for text in texts])


def _figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    by_convention = np.moveaxis(sums.reshape(*sums.shape[:-1], 2, NUM_FINDINGS, 3), -3, 0)
    return {
        f"chexbert_{name}{suffix}": scores_from_counts(counts)[name]
        for suffix, counts in zip(("", "_uncertain_negative"), by_convention, strict=True)
        for name in ("macro_f1", "micro_f1", "macro_f1_5", "micro_f1_5")
    }
