"""From images to report: all that a user of a trained model needs.

    generator = ReportGenerator.from_pretrained()  # what ships with the project; or ("runs/mine/best")
    [report] = generator.generate([Image.open("chest.png")])
    print(report.report)

Images are PIL images in memory; `data.images.read.read_image` reads files, DICOM included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from vlm.explain.attention import heatmaps, over_patches, sentence_attention, sentence_spans
from vlm.inputs.batch import Views, batch_images
from vlm.inputs.image import to_gray
from vlm.inputs.tokenizer import TextPieces
from vlm.layers.finding_queries import FindingOutput
from vlm.schema.preprocessing import preprocess
from vlm.schema.report_format import split_report
from vlm.uncertainty import Calibration

_NOTHING = GeneratedTokens([], [], is_truncated=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReport:
    """What the model says of one study."""

    report: str
    """"Findings: … Impression: …" as written; empty where the model has learned no reports."""
    findings: str
    impression: str
    finding_probabilities: tuple[float, ...]
    """Of the 14 findings in the order of vlm.schema.findings.FINDINGS; calibrated where the checkpoint says so."""
    attention_maps: np.ndarray
    """Float32 [14, views, rows, columns] over the patches; each finding's sums to 1."""
    tokens: tuple[str, ...]
    """Pieces of text that join to `report`."""
    token_log_probabilities: tuple[float, ...]
    is_truncated: bool
    """The report reached max_new_tokens and ends in the middle; while streaming, it is still being written."""


class ReportGenerator:
    """A report model ready to read studies."""

    def __init__(self, checkpoint: Checkpoint, *, device: str | torch.device | None = None, name: str = ""):
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = checkpoint.model.to(self.device).eval()
        self.tokenizer = checkpoint.tokenizer
        self._ends = {name: getattr(self.tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
        self.calibration: Calibration = checkpoint.calibration
        self.ood_detector = checkpoint.ood_detector
        self.config = checkpoint.model.config
        self.name = name

    @classmethod
    def from_pretrained(
        cls, name: str | Path = SHIPPED, *, revision: str | None = None, device: str | torch.device | None = None
    ) -> "ReportGenerator":
        """The generator of a checkpoint folder, or of a hub repository that holds one; else of the one that ships with
        the project.

        Raises:
            ValueError: nothing is there, or a file of it is missing, damaged or of another model; names the file.
        """
        folder = fetch_checkpoint(name, revision=revision)
        checkpoint = load_checkpoint(folder)
        merge_adapters(checkpoint.model)  # an adapter that runs beside the weights takes a tenth of the time
        return cls(checkpoint, device=device, name=str(name))

    @property
    def writes_reports(self) -> bool:
        """Else it only classifies, and its reports are empty."""
        return self.config.writes_reports

    @property
    def thresholds(self) -> tuple[float, ...]:
        return self.calibration.thresholds

    def preprocess(self, image: Image.Image) -> Image.Image:
        """An image as it comes from a file, treated like those the model learned from.

        Not for images of a prepared data set, which have been through it.
        """
        return preprocess(to_gray(image), self.config.preprocessing)

    def generate(
        self,
        images: Image.Image | Sequence[Views],
        *,
        view_positions: Sequence[Sequence[str]] | None = None,
        indications: Sequence[str] | None = None,
        options: GenerationOptions | None = None,
    ) -> list[StudyReport]:
        """One report a study, in order.

        `images` has one entry a study: an image, or the images of its views; a lone image is one study. They are
        run as one batch, so memory grows with their number.

        Raises:
            ValueError: no study, a study without an image, or lists of unequal length.
            TypeError: an entry is no image in memory.
        """
        options = options or GenerationOptions()
        inputs = self._inputs(images, view_positions, indications)
        with torch.inference_mode():
            prefix = self.model.prefix(**inputs)
            written = [_NOTHING] * len(prefix.mask)
            if self.writes_reports:
                written = generate_reports(self.model, prefix, **self._ends, options=options)
        seen = self._seen(prefix.findings, inputs["view_mask"])
        return [
            self._study_report(tokens, self._pieces(tokens.token_ids), study)
            for tokens, study in zip(written, seen, strict=True)
        ]

    def stream(
        self,
        images: Views,
        *,
        view_positions: Sequence[str] | None = None,
        indication: str = "",
        options: GenerationOptions | None = None,
    ) -> Iterator[StudyReport]:
        """The report of one study as it is written, one token at a time; the last is what `generate` returns.

        Raises:
            ValueError: beam search, whose text is not known before its end.
        """
        options = options or GenerationOptions()
        if options.num_beams > 1:
            raise ValueError(f"a report cannot be streamed with num_beams={options.num_beams}; use 1")
        inputs = self._inputs([images], None if view_positions is None else [view_positions], [indication])
        return self._stream(inputs, options)

    def _stream(self, inputs: dict[str, Tensor], options: GenerationOptions) -> Iterator[StudyReport]:
        with torch.inference_mode():
            prefix = self.model.prefix(**inputs)
        [seen] = self._seen(prefix.findings, inputs["view_mask"])
        text, pieces, token_ids, log_probabilities = TextPieces(self.tokenizer), [], [], []
        if not self.writes_reports:
            yield self._study_report(_NOTHING, [], seen)
            return
        yield self._study_report(replace(_NOTHING, is_truncated=True), [], seen)
        for _, token, log_probability in generate_tokens(self.model, prefix, **self._ends, options=options):
            has_ended = token == self.tokenizer.eos_token_id
            if not has_ended:
                token_ids.append(token)
                log_probabilities.append(log_probability)
                pieces.append(text.add(token))
            if pieces and (has_ended or len(pieces) == options.max_new_tokens):
                pieces[-1] += text.finish()
            yield self._study_report(GeneratedTokens(token_ids, log_probabilities, not has_ended), pieces, seen)

    def classify(
        self, images: Image.Image | Sequence[Views], *, view_positions: Sequence[Sequence[str]] | None = None
    ) -> list[tuple[float, ...]]:
        """Probabilities of the 14 findings of each study, without writing a report."""
        inputs = self._inputs(images, view_positions, None)
        with torch.inference_mode():
            _, findings = self.model.encode_images(inputs["pixel_values"], inputs["view_indices"], inputs["view_mask"])
        return [probabilities for probabilities, _ in self._seen(findings, inputs["view_mask"])]

    def features(
        self, images: Image.Image | Sequence[Views], *, view_positions: Sequence[Sequence[str]] | None = None
    ) -> np.ndarray:
        """What finds similar studies: float32 [studies, width], each of length 1, so that a product is a cosine.

        The tokens of the 14 findings side by side; of all that the model computes, they retrieve best (docs/LOG.md).
        """
        inputs = self._inputs(images, view_positions, None)
        with torch.inference_mode():
            _, findings = self.model.encode_images(inputs["pixel_values"], inputs["view_indices"], inputs["view_mask"])
        features = functional.normalize(findings.tokens.float().flatten(1), dim=1)
        return features.cpu().numpy()

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """What tells whether images are of the kind the model learned from: float32 [images, width].

        Mean and deviation of the encoder's patches, and the image in 16 x 16 pixels: of all that was tried they tell
        best, and unlike `features` not from what the findings' training kept (docs/LOG.md).
        """
        inputs = self._inputs([[image] for image in images], None, None)
        pixel_values = inputs["pixel_values"][inputs["view_mask"]]
        with torch.inference_mode():
            patches = self.model.encoder(pixel_values).float()
        small = functional.adaptive_avg_pool2d(pixel_values.float().mean(dim=1, keepdim=True), 16)
        features = torch.cat([patches.mean(dim=1), patches.std(dim=1, correction=0), small.flatten(1)], dim=1)
        return features.cpu().numpy()

    def log_probabilities(
        self,
        images: Image.Image | Sequence[Views],
        texts: Sequence[str],
        *,
        view_positions: Sequence[Sequence[str]] | None = None,
        indications: Sequence[str] | None = None,
    ) -> np.ndarray:
        """How likely each study's report is to begin with each of the texts: natural logarithms, float32 [studies,
        texts]. A text should end where a word does, and begin as reports do ("Findings: …")."""
        inputs = self._inputs(images, view_positions, indications)
        token_ids = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        with torch.inference_mode():
            prefix = self.model.prefix(**inputs)
        values = beginning_log_probabilities(self.model, prefix, token_ids, bos_token_id=self.tokenizer.bos_token_id)
        return values.cpu().numpy()

    def heatmaps(self, report: StudyReport, images: Views) -> list[np.ndarray]:
        """For each view, heat 0..1 of the 14 findings in the image's own pixels: [14, height, width]."""
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
    ) -> np.ndarray:
        """Where each of a report's sentences comes from: float32 [sentences, views, rows, columns] over the patches,
        each with the sum 1, or 0 where the sentence is not in the report. Takes one more run over the whole report."""
        inputs = self._inputs([images], None if view_positions is None else [view_positions], [indication])
        encoded = self.tokenizer(report, add_special_tokens=False, return_offsets_mapping=True)
        num_views = inputs["view_mask"].shape[1]
        if not encoded["input_ids"] or not sentences:
            return np.zeros((len(sentences), num_views, *self.model.encoder.grid), dtype=np.float32)
        with torch.inference_mode():
            prefix = self.model.prefix(**inputs)
            attention = sentence_attention(
                self.model,
                prefix,
                encoded["input_ids"],
                encoded["offset_mapping"],
                sentence_spans(report, sentences),
                bos_token_id=self.tokenizer.bos_token_id,
            )
            maps = over_patches(self.model, attention, prefix.findings.attention[0], num_views)
        return maps.float().cpu().numpy()

    def _inputs(self, images, view_positions, indications) -> dict[str, Tensor]:
        inputs = batch_images(images, view_positions, indications, tokenizer=self.tokenizer, geometry=self.config.image)
        return {key: value.to(self.device) for key, value in inputs.items()}

    def _seen(self, findings: FindingOutput, view_mask: Tensor) -> list[tuple[tuple[float, ...], np.ndarray]]:
        """Probabilities and attention maps of each study, its absent views left out."""
        probabilities = (findings.logits.float() / self.calibration.temperature).sigmoid().tolist()
        grid = self.model.encoder.grid
        maps = findings.attention.float().unflatten(2, (view_mask.shape[1], *grid)).cpu().numpy()
        counts = view_mask.sum(dim=1).tolist()
        return [(tuple(row), views[:, :count]) for row, views, count in zip(probabilities, maps, counts, strict=True)]

    def _pieces(self, token_ids: Sequence[int]) -> list[str]:
        text = TextPieces(self.tokenizer)
        pieces = [text.add(token) for token in token_ids]
        if pieces:
            pieces[-1] += text.finish()
        return pieces

    def _study_report(
        self, written: GeneratedTokens, pieces: Sequence[str], seen: tuple[tuple[float, ...], np.ndarray]
    ) -> StudyReport:
        report = "".join(pieces)
        sections = split_report(report)
        probabilities, attention_maps = seen
        return StudyReport(
            report=report,
            findings=sections.findings,
            impression=sections.impression,
            finding_probabilities=probabilities,
            attention_maps=attention_maps,
            tokens=tuple(pieces),
            token_log_probabilities=tuple(written.log_probabilities),
            is_truncated=written.is_truncated,
        )
