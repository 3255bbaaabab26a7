"""Fit a linear classifier of the findings to labeled studies, and mix it with the classifier of a checkpoint.

    python -m train.fit_probe --checkpoint runs/mine/best --dataset studies --output-dir runs/probe

It reads every image once and has no epochs, so it is the fastest way to adapt the findings to other X-rays. Logistic
regression learns each finding of the training studies from the features of the image encoder; cross-validation over
patients selects its penalty. The new log-odds are the weighted mean of its log-odds and those of the checkpoint, with
one weight (the share) for all findings. The share has the lowest log loss on the validation studies, as a mean over
their sources, and temperature, thresholds and ROC curves are chosen anew. So the validation studies must be of all
kinds that the checkpoint has to read, not only of the new ones; `python -m data.join` puts them together. A finding
with too few validation studies keeps the logits and the decisions of the checkpoint.

The decoder is not trained again. It reads the new probabilities, or the new decisions if the checkpoint was trained
with --decide-findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import torch
import tyro
from rich.progress import track
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from data.cli import check_minimum, run_main
from data.study import load_studies, saved_preprocessing
from train.card.card import write_probe_card
from train.loop.validation import MIN_POSITIVES, calibrate
from train.run.progress import console
from train.studies.dataset import finding_targets
from vlm.checkpoint.store import SHIPPED, fetch_checkpoint, load_checkpoint, save_checkpoint
from vlm.generator import ReportGenerator
from vlm.schema.findings import FINDINGS, NUM_FINDINGS
from vlm.uncertainty import Calibration

INVERSE_PENALTIES = (1e-4, 3e-4, 1e-3, 1e-2)
"""Values of `C` of the regression."""
NUM_FOLDS = 5
MIN_CASES = 10
"""A finding is learned if so many training patients have it and so many do not."""
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitProbeOptions:
    """Mix a linear classifier of the findings into a checkpoint."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or hub id to start from; it is not changed."""
    dataset: Path
    """Prepared data set: the regression learns from its train split, share and thresholds are chosen on validation."""
    output_dir: Path
    """Folder for the new checkpoint; it must not exist."""
    uncertain_labels: Literal["positive", "negative", "ignore"] = "positive"
    """How an uncertain finding counts; as in the training."""
    save_precision: Literal["fp32", "fp16"] = "fp32"
    """Precision of the saved weights."""
    batch_size: int = 16
    """Studies per batch."""

    def __post_init__(self):
        check_minimum(self, batch_size=1)
        if self.output_dir.exists():
            raise ValueError(f"--output-dir {self.output_dir} exists; name a new folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Studies:
    """What the regression reads of a split."""

    inputs: np.ndarray
    """Input of the linear layer: [studies, 2 * width of the encoder]."""
    logits: torch.Tensor
    targets: torch.Tensor
    labeled: torch.Tensor
    """[studies, 14] each."""
    patients: np.ndarray
    sources: list[str]

    @property
    def judges(self) -> torch.Tensor:
        """Whether a threshold can be chosen on these studies, for each finding [14]."""
        positive = (self.labeled & (self.targets == 1)).sum(dim=0)
        return (positive >= MIN_POSITIVES) & (positive < self.labeled.sum(dim=0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Regression:
    """A linear classifier of the 14 findings; a finding that is not known has zeros."""

    weight: torch.Tensor
    bias: torch.Tensor
    is_known: torch.Tensor

    def mixed(self, studies: _Studies, share: float) -> torch.Tensor:
        """The logits of the studies with this share of the regression."""
        own = torch.from_numpy(studies.inputs) @ self.weight.T + self.bias
        return studies.logits + share * self.is_known * (own - studies.logits)


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(FitProbeOptions, args=argv, description=__doc__)
    datasets.disable_progress_bars()
    splits = load_studies(options.dataset)
    for split in ("train", "validation"):
        if not len(splits.get(split, ())):
            raise ValueError(f"{options.dataset} has no {split} studies; prepare it with a {split} split")
    folder = fetch_checkpoint(options.checkpoint)
    checkpoint = load_checkpoint(folder)
    model, old = checkpoint.model, checkpoint.calibration
    if saved_preprocessing(options.dataset) != model.config.preprocessing:
        raise ValueError(
            f"{options.dataset} was prepared with another preprocessing than {options.checkpoint} was trained with; "
            f"prepare it with {model.config.preprocessing}"
        )
    if model.finding_queries.linear_probe is None:
        model.config = replace(model.config, linear_probe=True)
        model.finding_queries.add_linear_probe()
    generator = ReportGenerator(checkpoint)
    training, validation = (_read(generator, splits[split], split, options) for split in ("train", "validation"))
    regression = _regression(training, validation.judges, options.dataset)
    losses = {share: _mean_log_loss(regression.mixed(validation, share), validation, old) for share in SHARES}
    share = min(losses, key=losses.get)
    calibration = _calibration(regression.mixed(validation, share), validation, old)
    model.cpu().finding_queries.mix(regression.weight, regression.bias, share * regression.is_known)
    dtype = torch.float16 if options.save_precision == "fp16" else torch.float32
    save_checkpoint(options.output_dir, replace(checkpoint, calibration=calibration), dtype=dtype)
    learned, kept = _names(regression.is_known == 1), _names(~validation.judges)
    table, card = _table(losses), {"start": options.checkpoint, "share": share, "learned": learned, "kept": kept}
    write_probe_card(folder, options.output_dir, splits, metrics=table, **card)
    print(f"{table}\n\nLinear classifier of {learned}")
    if kept:
        print(f"As in the checkpoint, because fewer than {MIN_POSITIVES} validation studies have the finding: {kept}")
    if share == 0:
        print("Note: it does not help on the validation studies, so its share is 0; only the thresholds are new.")
    print(f"{options.output_dir}: the linear classifier has a share of {share}")


def _read(generator: ReportGenerator, rows: datasets.Dataset, split: str, options: FitProbeOptions) -> _Studies:
    queries = generator.model.finding_queries
    inputs, logits = [], []
    hooks = (
        queries.linear_probe[0].register_forward_hook(lambda _, __, output: inputs.append(output.float().cpu())),
        queries.register_forward_hook(lambda _, __, output: logits.append(output.logits.float().cpu())),
    )
    starts = range(0, len(rows), options.batch_size)
    for start in track(
        starts, description=f"reading {split}", console=console, transient=True, disable=not console.is_terminal
    ):
        batch = rows[start : start + options.batch_size]
        generator.classify(batch["images"], view_positions=batch["view_positions"])
    for hook in hooks:
        hook.remove()
    targets, labeled = finding_targets(torch.tensor(rows["labels"][:]), options.uncertain_labels)
    patients = [subject or study for subject, study in zip(rows["subject_id"][:], rows["study_id"][:], strict=True)]
    return _Studies(
        inputs=torch.cat(inputs).numpy(),
        logits=torch.cat(logits),
        targets=targets,
        labeled=labeled,
        patients=np.array(patients),
        sources=list(rows["source"][:]),
    )


def _regression(training: _Studies, is_judged: torch.Tensor, dataset: Path) -> _Regression:
    """Raises ValueError if no finding has enough cases."""
    weight = torch.zeros(NUM_FINDINGS, training.inputs.shape[1])
    bias = torch.zeros(NUM_FINDINGS)
    is_known = torch.zeros(NUM_FINDINGS)
    for finding in track(
        range(NUM_FINDINGS), description="learning", console=console, transient=True, disable=not console.is_terminal
    ):
        labeled = training.labeled[:, finding].numpy()
        positive, patients = training.targets[labeled, finding].numpy() == 1, training.patients[labeled]
        num_patients = min(len(set(patients[positive])), len(set(patients[~positive])))
        if num_patients < MIN_CASES or not is_judged[finding]:
            continue
        scaler = StandardScaler().fit(training.inputs[labeled])
        inputs = scaler.transform(training.inputs[labeled])
        folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0).split(inputs, positive, patients)
        model = LogisticRegressionCV(
            Cs=INVERSE_PENALTIES,
            l1_ratios=(0,),
            cv=list(folds),
            scoring="neg_log_loss",
            max_iter=1000,
            use_legacy_attributes=False,
        ).fit(inputs, positive)
        weight[finding] = torch.from_numpy(model.coef_[0] / scaler.scale_)
        bias[finding] = float(model.intercept_[0] - model.coef_[0] @ (scaler.mean_ / scaler.scale_))
        is_known[finding] = 1
    if not is_known.any():
        raise ValueError(
            f"{dataset}: no finding has {MIN_CASES} training patients with it and {MIN_CASES} without it, and "
            f"{MIN_POSITIVES} validation studies with it and one without it"
        )
    return _Regression(weight=weight, bias=bias, is_known=is_known)


def _calibration(logits: torch.Tensor, studies: _Studies, old: Calibration) -> Calibration:
    """The calibration on these studies. A finding that they do not judge keeps its decisions. If they do not label all
    findings that the checkpoint knows, the temperature of all stays."""
    is_labeled = studies.labeled.any(dim=0).tolist()
    are_all_labeled = all(labeled or not known for labeled, known in zip(is_labeled, old.is_known, strict=True))
    new = calibrate(
        logits,
        studies.targets,
        studies.labeled,
        decides_reports=old.decides_reports,
        sources=studies.sources,
        temperature=None if are_all_labeled or not old.is_calibrated else old.temperature,
    )
    scale = old.temperature / new.temperature
    kept = np.clip(old.thresholds, 1e-6, 1 - 1e-6)
    kept = 1 / (1 + (1 / kept - 1) ** scale)  # the same logit
    num_labeled = new.num_labeled if are_all_labeled else ()
    if old.num_labeled:
        num_labeled = tuple(now or before for now, before in zip(new.num_labeled, old.num_labeled, strict=True))
    return replace(
        new,
        thresholds=tuple(np.where(studies.judges, new.thresholds, kept).tolist()),
        num_labeled=num_labeled,
    )


def _mean_log_loss(logits: torch.Tensor, studies: _Studies, old: Calibration) -> float:
    """With the best temperature: the mean over the sources of the mean over their labeled findings."""
    logits = logits / _calibration(logits, studies, old).temperature
    losses = functional.binary_cross_entropy_with_logits(logits, studies.targets, reduction="none").numpy()
    sources = np.array(studies.sources)
    means = []
    for source in set(studies.sources):
        known = studies.labeled.numpy() & (sources == source)[:, None]
        if known.any():
            means.append(np.mean([losses[rows, finding].mean() for finding, rows in enumerate(known.T) if rows.any()]))
    return float(np.mean(means))


def _names(is_chosen: torch.Tensor) -> str:
    return ", ".join(finding for finding, chosen in zip(FINDINGS, is_chosen, strict=True) if chosen)


def _table(losses: dict[float, float]) -> str:
    """Markdown: the log loss of each share."""
    rows = [f"| {share:.1f} | {loss:.4f} |" for share, loss in losses.items()]
    return "\n".join(["| share of the linear classifier | log loss |", "|---|---|", *rows])


if __name__ == "__main__":
    run_main(main)
