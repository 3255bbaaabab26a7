"""The recipe that ablations and growth vary: a base learns findings and language, then reports are learned by LoRA."""

from dataclasses import dataclass

from bench.experiment import Stage

GENTLE = (
    "--augmentation.max-rotation=7",
    "--augmentation.max-shift=0.05",
    "--augmentation.max-zoom=0.05",
    "--augmentation.max-shear=5",
)
"""As the Makefile's: what children and phantoms bear without becoming other patients."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Each field is one choice; an ablation replaces one or two."""

    encoder: str = "cnn"
    decoder: str = "nano"
    image_size: int = 160
    vocab_size: int = 1000
    batch_size: int = 16
    learning_rate: float = 2e-3
    encoder_learning_rate: float | None = None
    """Of the base; by default `learning_rate`."""
    report_learning_rate: float = 5e-4
    findings_epochs: int = 4
    language_epochs: int = 3
    report_epochs: int = 1
    """0: no reports from pictures; the base is all there is."""
    lora: bool = True
    finding_tokens: bool = True
    num_validation_reports: int = 100
    data_flags: tuple[str, ...] = ()
    """Which studies both stages learn."""

    def stages(self) -> tuple[Stage, ...]:
        shared = (
            *self.data_flags,
            *GENTLE,
            f"--batch-size={self.batch_size}",
            f"--num-validation-reports={self.num_validation_reports}",
        )
        base = (
            f"--encoder={self.encoder}",
            f"--decoder={self.decoder}",
            f"--image-size={self.image_size}",
            f"--vocab-size={self.vocab_size}",
            "--no-lora",
            *(() if self.finding_tokens else ("--no-finding-tokens",)),
            f"--learning-rate={self.learning_rate}",
            *((f"--encoder-learning-rate={self.encoder_learning_rate}",) if self.encoder_learning_rate else ()),
            f"--num-epochs={self.findings_epochs + self.language_epochs}",
            f"--findings-epochs={self.findings_epochs}",
            f"--language-epochs={self.language_epochs}",
        )
        reports = (
            f"--learning-rate={self.report_learning_rate}",
            f"--num-epochs={self.report_epochs}",
            *(() if self.lora else ("--no-lora",)),
        )
        stages = Stage(name="base", flags=(*shared, *base)), Stage(name="reports", flags=(*shared, *reports))
        return stages if self.report_epochs else stages[:1]
