"""Drafts of the next tokens (vlm/drafting.py): are the reports the same with and without, and how much faster?

    python -m bench.drafts --dataset prepared --num-studies 200
    python -m bench.drafts --dataset prepared --num-studies 200 --num-beams 2    (beam search makes no use of drafts)

The index is made of the training reports of the data set, as by train/draft_index.py. Each test study is reported
twice, one after the other. Two reports are equal if their texts and their numbers of tokens are. Passes are calls of
the decoder, and seconds are processor time, images included. The program ends with status 1 if two reports differ.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from bench.speed.compare import commit, processor_name
from data.cli import check_minimum, run_main
from data.study import load_studies
from vlm.checkpoint.store import SHIPPED
from vlm.drafting import DraftIndex, build_draft_index
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.tokenizer import encode_report
from vlm.schema.atomic import write_json
from vlm.schema.report_format import reports_of
from vlm.schema.study_report import StudyReport

MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftsOptions:
    """Compare reports with and without drafts."""

    dataset: Path
    """Prepared data set with the splits train (for the index) and test."""
    training: Path | None = None
    """Another data set with the training reports of the index."""
    checkpoint: str = SHIPPED
    """Checkpoint with a GPT-2."""
    num_studies: int = 200
    """The first studies of the test split, this many."""
    num_beams: int = 1
    """1: greedy search."""
    output: Path | None = None
    """JSON file for the figures."""

    def __post_init__(self):
        check_minimum(self, num_studies=1, num_beams=1)


@dataclass(kw_only=True, slots=True)
class Cost:
    """Of all studies: calls of the decoder, and processor time in seconds."""

    passes: int = 0
    seconds: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    options = tyro.cli(DraftsOptions, args=argv, prog="python -m bench.drafts", description=__doc__)
    generator = ReportGenerator.from_pretrained(options.checkpoint)
    training = load_studies(options.training or options.dataset)["train"]
    index = build_draft_index(
        encode_report(generator.tokenizer, report, max_tokens=MAX_TOKENS) for report in reports_of(training) if report
    )
    studies = load_studies(options.dataset)["test"]
    record = compare(generator, index, studies.select(range(min(options.num_studies, len(studies)))), options.num_beams)
    record |= {"checkpoint": options.checkpoint, "commit": commit(), "processor": processor_name()}
    for name, value in record.items():
        print(f"{name}: {value}")
    if options.output:
        write_json(options.output, record)
    return int(bool(record["different"]))


def compare(
    generator: ReportGenerator, index: DraftIndex, studies: Sequence[Any], num_beams: int = 1
) -> dict[str, Any]:
    """Report each study without and with drafts; return counts, costs and the ids of studies that differ."""
    costs, num_tokens, different = {"without": Cost(), "with": Cost()}, 0, []
    for study in studies:
        plain, drafted = (
            _report(generator, study, num_beams, drafts, costs[name])
            for name, drafts in (("without", None), ("with", index))
        )
        num_tokens += len(plain.token_log_probabilities)
        if _identity(plain) != _identity(drafted):
            different.append(study["study_id"])
    return {
        "num_studies": len(studies),
        "num_beams": num_beams,
        "num_entries": len(index.next_tokens),
        "num_tokens": num_tokens,
        "different": different,
        **{f"{name}_drafts": asdict(cost) for name, cost in costs.items()},
    }


def _report(
    generator: ReportGenerator, study: dict[str, Any], num_beams: int, drafts: DraftIndex | None, cost: Cost
) -> StudyReport:
    def count(*_) -> None:
        cost.passes += 1

    generator.drafts = drafts
    hook = generator.model.decoder.register_forward_hook(count)
    start = time.process_time()
    [report] = generator.generate(
        [study["images"]],
        view_positions=[study["view_positions"]],
        indications=[study["indication"]],
        options=GenerationOptions(num_beams=num_beams),
    )
    cost.seconds += time.process_time() - start
    hook.remove()
    return report


def _identity(report: StudyReport) -> tuple[str, int]:
    return report.report, len(report.token_log_probabilities)


if __name__ == "__main__":
    run_main(main)
