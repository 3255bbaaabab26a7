"""The worker of an archive run: it holds one model and reads batches of studies, each into one row."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow
import torch

from page.archive.output import rows_table
from page.study.row import StudyRow, generator_name, rejected_row
from page.study.worklist import ReadOptions, StudySource, read_sources
from vlm.generator import ReportGenerator
from vlm.operating_point import BEST_F1, OperatingPoint
from vlm.precision import Precision
from vlm.schema.preprocessing import Preprocessing

MAX_FAILURES = 20
"""If this many studies in a row fail for unexpected reasons, the studies are not the cause."""
SourceOf = Callable[[dict[str, Any], Preprocessing], StudySource]
"""The study of a row of the input. Raises ValueError if the row cannot be used."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """The model of a worker and the value that its column `model` must have; its share of the machine; how it reads."""

    checkpoint: str
    model: str
    device: str
    num_cpus: int
    num_gpus: float
    batch_size: int
    reading: ReadOptions
    precision: Precision = "fp32"
    operating_point: OperatingPoint = BEST_F1


class Reader:
    """Called with batches of input rows; returns as many rows with the columns of `page.study.row`.

    Raises:
        ValueError: the checkpoint on this machine is another one.
    """

    def __init__(self, source_of: SourceOf, options: WorkerOptions):
        torch.set_num_threads(options.num_cpus)
        generator = ReportGenerator.from_pretrained(
            options.checkpoint, device=options.device, precision=options.precision
        )
        self.generator = generator.at(options.operating_point)
        found = generator_name(self.generator)
        if found != options.model:
            raise ValueError(f"a machine of the cluster has the model {found}, not {options.model}; copy it there")
        self.source_of, self.options = source_of, options
        self.num_failures = 0

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """One row for each input row, in order."""
        rows: dict[int, StudyRow] = {}
        sources: dict[int, StudySource] = {}
        for number, values in enumerate(batch.to_pylist()):
            try:
                sources[number] = self.source_of(values, self.generator.config.preprocessing)
            except ValueError as error:
                rows[number] = rejected_row(values["study"], str(error), model=self.options.model)
        rows |= dict(zip(sources, self._read(list(sources.values())), strict=True))
        return rows_table(rows[number] for number in range(len(batch)))

    def _read(self, sources: Sequence[StudySource]) -> list[StudyRow]:
        """A study that fails for an unexpected reason costs only its own report; the reason may not quote it."""
        try:
            rows = [result.row for result in read_sources(self.generator, sources, self.options.reading)]
            self.num_failures = 0
            return rows
        except Exception as error:
            if len(sources) > 1:
                return [row for source in sources for row in self._read([source])]
            self.num_failures += 1
            if self.num_failures >= MAX_FAILURES:
                raise
            logger.error("a study could not be read: %s", type(error).__name__)
            reason = f"an unexpected error ({type(error).__name__}); the log of the worker says no more"
            [source] = sources
            return [rejected_row(source.name, reason, model=self.options.model, files=source.files)]
