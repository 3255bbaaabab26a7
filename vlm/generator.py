"""From images to report: the interface to a trained model.

    generator = ReportGenerator.from_pretrained()  # the shipped checkpoint; or ("runs/mine/best")
    [report] = generator.generate([Image.open("chest.png")])
    print(report.report)

Images are PIL images in memory; `data.images.read.read_image` reads files, DICOM included.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vlm.checkpoint.store import SHIPPED, Checkpoint, fetch_checkpoint, load_checkpoint, merge_adapters
from vlm.decoding import (
    GeneratedTokens,
    GenerationOptions,
    beginning_log_probabilities,
    generate_reports,
    generate_tokens,
)
from vlm.explain.attention import heatmaps, sentence_maps
from vlm.inputs.batch import Prior, Views, batch_images
from vlm.inputs.image import to_gray
from vlm.inputs.patch_features import PatchFeatures
from vlm.inputs.tokenizer import TextPieces, text_pieces
from vlm.layers.finding_queries import FindingOutput
from vlm.model import Prefix
from vlm.operating_point import OperatingPoint
from vlm.precision import PrecisionChoice, with_precision
from vlm.schema.preprocessing import preprocess
from vlm.schema.report_format import split_report
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

_NO_TOKENS = GeneratedTokens([], [], is_truncated=False)


class ReportGenerator:
    """A report model with everything it needs for inference."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | torch.device | None = None,
        name: str = "",
        precision: PrecisionChoice = "fp32",
    ):
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = checkpoint.model.to(self.device).eval()
        self.model, self.precision = with_precision(model, precision, self.device)
        self.tokenizer = checkpoint.tokenizer
        self._special_ids = {name: getattr(self.tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
        self.calibration: Calibration = checkpoint.calibration
        self.drafts = checkpoint.drafts
        self.ood_detector = checkpoint.ood_detector
        self.ood_not_checked = "" if checkpoint.ood_detector else checkpoint.ood_absence
        self.config = checkpoint.model.config
        self.patch_features = PatchFeatures(self.model.encoder, self.config.image, self.device)
        self.name = name

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = SHIPPED,
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        precision: PrecisionChoice = "fp32",
    ) -> "ReportGenerator":
        """Load a checkpoint folder or hub repository, by default the shipped checkpoint.

        `precision` int8 is faster on a CPU, but reports and probabilities differ; "auto" measures which one is faster.

        Raises:
            ValueError: there is no checkpoint, or a file is missing, damaged or of another model; names the file. Or
                int8 cannot be used on this device.
        """
        folder = fetch_checkpoint(name, revision=revision)
        checkpoint = load_checkpoint(folder)
        merge_adapters(checkpoint.model)  # an unmerged adapter costs a tenth of the time
        return cls(checkpoint, device=device, name=str(name), precision=precision)

    def at(self, point: OperatingPoint) -> "ReportGenerator":
        """The same model, which decides by the thresholds of this operating point.

        Raises:
            ValueError: the checkpoint has no ROC curves on validation studies, which this needs.
        """
        if point == self.calibration.operating_point:
            return self
        moved = copy(self)
        try:
            moved.calibration = self.calibration.at(point)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return moved

    def encoding_once(self) -> "ReportGenerator":
        """The same model, which encodes each image once, although several methods are called with it.

        It holds the features of all its images (`PatchFeatures`): use it for one study, or one batch, and then drop it.
        """
        once = copy(self)
        once.patch_features = self.patch_features.remembering()
        return once

    @property
    def writes_reports(self) -> bool:
        """False: the model only classifies, and its reports are empty."""
        return self.config.writes_reports

    @property
    def reads_priors(self) -> bool:
        """Whether the model compares with a prior study; if not, it rejects one."""
        return self.config.prior

    @property
    def thresholds(self) -> tuple[float, ...]:
        return self.calibration.thresholds

    def preprocess(self, image: Image.Image) -> Image.Image:
        """Preprocess an image from a file like the training images.

        Images of a prepared data set are preprocessed already.
        """
        return preprocess(to_gray(image), self.config.preprocessing)

    def generate(
        self,
        images: Image.Image | Sequence[Views],
        *,
        view_positions: Sequence[Sequence[str]] | None = None,
        indications: Sequence[str] | None = None,
        priors: Sequence[Prior | None] | None = None,
        options: GenerationOptions | None = None,
    ) -> list[StudyReport]:
        """One report per study, in order.

        `images` has one entry per study: an image, or the images of its views. A single image is one study. All
        studies run as one batch, so memory grows with their number. `priors` has the prior study of each study, or
        None. Lateral views alone get a report too, which may be wrong (docs/LOG.md); `page.study.read` warns of it.

        Raises:
            ValueError: no study, a study without an image, lists of unequal length, `num_candidates` above 1, or a
                prior for a model that was trained without (`reads_priors`).
            TypeError: an entry is not a PIL image.
        """
        options = options or GenerationOptions()
        if options.num_candidates > 1:
            raise ValueError("several candidates need generate_candidates; eval.checks.candidates chooses one of them")
        candidates = self.generate_candidates(
            images, view_positions=view_positions, indications=indications, priors=priors, options=options
        )
        return [report for [report] in candidates]

    def generate_candidates(
        self,
        images: Image.Image | Sequence[Views],
        *,
        view_positions: Sequence[Sequence[str]] | None = None,
        indications: Sequence[str] | None = None,
        priors: Sequence[Prior | None] | None = None,
        options: GenerationOptions,
    ) -> list[list[StudyReport]]:
        """`options.num_candidates` reports per study: the greedy one, then samples. Otherwise like `generate`."""
        inputs = self._inputs(images, view_positions, indications, priors)
        num_candidates = options.num_candidates if self.writes_reports else 1
        with torch.inference_mode():
            prefix = self._prefix(inputs)
            generated = [_NO_TOKENS] * len(prefix.mask)
            if self.writes_reports:
                generated = generate_reports(
                    self.model, prefix, **self._special_ids, options=options, drafts=self.drafts
                )
        outputs = self._finding_outputs(prefix.findings, inputs)
        return [
            [
                self._report(tokens, text_pieces(self.tokenizer, tokens.token_ids), output)
                for tokens in generated[study * num_candidates : (study + 1) * num_candidates]
            ]
            for study, output in enumerate(outputs)
        ]

    def stream(
        self,
        images: Views,
        *,
        view_positions: Sequence[str] | None = None,
        indication: str = "",
        prior: Prior | None = None,
        options: GenerationOptions | None = None,
    ) -> Iterator[StudyReport]:
        """The report of one study after each token; the last one equals the result of `generate`.

        Raises:
            ValueError: beam search or several candidates, which have no text before their end.
        """
        options = options or GenerationOptions()
        for name in ("num_beams", "num_candidates"):
            if getattr(options, name) > 1:
                raise ValueError(f"a report cannot be streamed with {name}={getattr(options, name)}; use 1")
        return self._stream(self._study_inputs(images, view_positions, indication, prior), options)

    def _stream(self, inputs: dict[str, Tensor], options: GenerationOptions) -> Iterator[StudyReport]:
        with torch.inference_mode():
            prefix = self._prefix(inputs)
        [output] = self._finding_outputs(prefix.findings, inputs)
        text, pieces, token_ids, log_probabilities = TextPieces(self.tokenizer), [], [], []
        if not self.writes_reports:
            yield self._report(_NO_TOKENS, [], output)
            return
        yield self._report(replace(_NO_TOKENS, is_truncated=True), [], output)
        tokens = generate_tokens(self.model, prefix, **self._special_ids, options=options, drafts=self.drafts)
        for _, token, log_probability in tokens:
            has_ended = token == self.tokenizer.eos_token_id
            if not has_ended:
                token_ids.append(token)
                log_probabilities.append(log_probability)
                pieces.append(text.add(token))
            if pieces and (has_ended or len(pieces) == options.max_new_tokens):
                pieces[-1] += text.finish()
            yield self._report(GeneratedTokens(token_ids, log_probabilities, not has_ended), pieces, output)

    def classify(
        self,
        images: Image.Image | Sequence[Views],
        *,
        view_positions: Sequence[Sequence[str]] | None = None,
        priors: Sequence[Prior | None] | None = None,
    ) -> list[tuple[float, ...]]:
        """Probabilities of the 14 findings of each study, without a report. They do not depend on the prior study."""
        self._check_priors(priors)
        findings, inputs = self._findings(images, view_positions)
        return [output["finding_probabilities"] for output in self._finding_outputs(findings, inputs)]

    def features(
        self, images: Image.Image | Sequence[Views], *, view_positions: Sequence[Sequence[str]] | None = None
    ) -> np.ndarray:
        """Features for the retrieval of similar studies: float32 [studies, width], each of length 1.

        They are the concatenated finding tokens, which retrieve better than other features of the model (docs/LOG.md).
        """
        findings, _ = self._findings(images, view_positions)
        features = functional.normalize(findings.tokens.float().flatten(1), dim=1)
        return features.cpu().numpy()

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features for the out-of-distribution check: float32 [images, width].

        Mean and standard deviation of the patch features, and the image in 16 x 16 pixels. They detect
        out-of-distribution images better than all other features that were tried, `features` included (docs/LOG.md).
        """
        patches = self._inputs([[image] for image in images])["patch_features"][:, 0].float()
        gray = self.patch_features.pixel_values(images).mean(dim=1, keepdim=True)
        small = functional.adaptive_avg_pool2d(gray, 16)
        features = torch.cat([patches.mean(dim=1), patches.std(dim=1, correction=0), small.flatten(1)], dim=1)
        return features.cpu().numpy()

    def log_probabilities(
        self,
        images: Image.Image | Sequence[Views],
        texts: Sequence[str],
        *,
        view_positions: Sequence[Sequence[str]] | None = None,
        indications: Sequence[str] | None = None,
        priors: Sequence[Prior | None] | None = None,
    ) -> np.ndarray:
        """Log-probability that each study's report begins with each text: float32 [studies, texts].

        A text should start like a report ("Findings: …") and end at the end of a word.
        """
        inputs = self._inputs(images, view_positions, indications, priors)
        token_ids = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        with torch.inference_mode():
            prefix = self._prefix(inputs)
        values = beginning_log_probabilities(self.model, prefix, token_ids, bos_token_id=self.tokenizer.bos_token_id)
        return values.cpu().numpy()

    def heatmaps(self, report: StudyReport, images: Views) -> list[np.ndarray]:
        """For each view, heat 0..1 of the 14 findings in the pixels of the image: [14, height, width]."""
        views = [images] if isinstance(images, Image.Image) else list(images)
        return heatmaps(report.attention_maps, [image.size for image in views], self.config.image.size)

    def sentence_maps(
        self,
        report: str,
        sentences: Sequence[str],
        images: Views,
        *,
        view_positions: Sequence[str] | None = None,
        indication: str = "",
        prior: Prior | None = None,
    ) -> np.ndarray:
        """Attention of each sentence of a report over the patches: float32 [sentences, views, rows, columns].

        The maps show `images`; attention to the prior study is left out.

        Each map sums to 1, or to 0 if the sentence is not in the report. Runs the model once over the whole report.
        """
        num_views = 1 if isinstance(images, Image.Image) else len(images)
        if not report or not sentences:
            return np.zeros((len(sentences), num_views, *self.model.encoder.grid), dtype=np.float32)
        inputs = self._study_inputs(images, view_positions, indication, prior)
        with torch.inference_mode():
            maps = sentence_maps(self.model, self._prefix(inputs), self.tokenizer, report, sentences, num_views)
        return maps.float().cpu().numpy()

    def _prefix(self, inputs: dict[str, Tensor]) -> Prefix:
        decisions = self.calibration.decision_logits
        decisions = None if decisions is None else torch.tensor(decisions, device=self.device)
        return self.model.prefix(**inputs, decision_logits=decisions)

    def _check_priors(self, priors: Sequence[Prior | None] | None) -> None:
        if priors is not None and any(priors) and not self.reads_priors:
            raise ValueError(
                f"{self.name or 'the model'} was not trained with prior studies and cannot compare; leave the prior "
                "out, or train on a data set with priors"
            )

    def _inputs(self, images, view_positions=None, indications=None, priors=None) -> dict[str, Tensor]:
        self._check_priors(priors)
        inputs = batch_images(
            images, view_positions, indications, priors, tokenizer=self.tokenizer, patch_features=self.patch_features
        )
        return {key: value.to(self.device) for key, value in inputs.items()}

    def _study_inputs(
        self, images: Views, view_positions: Sequence[str] | None, indication: str, prior: Prior | None
    ) -> dict[str, Tensor]:
        return self._inputs([images], None if view_positions is None else [view_positions], [indication], [prior])

    def _findings(self, images, view_positions) -> tuple[FindingOutput, dict[str, Tensor]]:
        inputs = self._inputs(images, view_positions)
        views = (inputs[name] for name in ("view_indices", "view_mask", "patch_features"))
        with torch.inference_mode():
            _, findings = self.model.encode_images(None, *views)
        return findings, inputs

    def _finding_outputs(self, findings: FindingOutput, inputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        """The fields of StudyReport that say something about the findings; attention maps without padded views."""
        probabilities = (findings.logits.float() / self.calibration.temperature).sigmoid().tolist()
        view_mask = inputs["view_mask"]
        maps = findings.attention.float().unflatten(2, (view_mask.shape[1], *self.model.encoder.grid)).cpu().numpy()
        counts = view_mask.sum(dim=1).tolist()
        severities, changes = (
            _probabilities(part, len(counts)) for part in (findings.severity_logits, findings.change_logits)
        )
        if findings.change_logits is not None:
            has_prior = inputs["prior_view_mask"].any(dim=1).tolist()
            changes = [change if has else None for change, has in zip(changes, has_prior, strict=True)]
        return [
            {
                "finding_probabilities": tuple(row),
                "severity_probabilities": severity,
                "change_probabilities": change,
                "attention_maps": views[:, :count],
            }
            for row, severity, change, views, count in zip(
                probabilities, severities, changes, maps, counts, strict=True
            )
        ]

    def _report(self, generated: GeneratedTokens, pieces: Sequence[str], output: dict[str, Any]) -> StudyReport:
        report = "".join(pieces)
        sections = split_report(report)
        return StudyReport(
            ood_not_checked=self.ood_not_checked,
            report=report,
            findings=sections.findings,
            impression=sections.impression,
            tokens=tuple(pieces),
            token_log_probabilities=tuple(generated.log_probabilities),
            is_truncated=generated.is_truncated,
            **output,
        )


def _probabilities(logits: Tensor | None, num_studies: int) -> list[tuple[tuple[float, ...], ...] | None]:
    """For each study, the probabilities of the states of each finding; None without logits."""
    if logits is None:
        return [None] * num_studies
    return [tuple(map(tuple, study)) for study in logits.float().softmax(dim=-1).tolist()]
