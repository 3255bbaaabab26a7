"""Which run an output directory holds: `run.json`, written first and compared before anything is added.

Checkpoint and data set are known by their contents, not by their paths, so both may be moved.

Progress of long work in the terminal, and the processes that share it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vlm.schema.strict_json import read_json

Track = Callable[[int, str], Callable[[int], None]]
"""`track(total, description)` starts a display and returns what advances it."""


def start_processes() -> PartialState:
    """This process among those that `accelerate launch` or torchrun started; the only one, where none did."""
    # Without `cpu`, each of several processes on a CPU would take itself for the only one.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, timeout=timedelta(days=2))  # they may finish their shares hours apart


@contextmanager
def progress(console: Console) -> Iterator[Track]:
    """Bars with what is done, elapsed and left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as bars:

        def track(total: int, description: str) -> Callable[[int], None]:
            task = bars.add_task(description, total=total)
            return lambda amount: bars.advance(task, amount)

        yield track


RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """What decides the predictions. `num_studies` 0 means the whole split."""

    checkpoint: str
    checkpoint_hash: str
    dataset: str
    dataset_hash: str
    split: str
    num_studies: int
    max_new_tokens: int
    num_beams: int


def claim_folder(folder: Path, record: RunRecord):
    """Writes the record into a new folder, or makes sure that the folder holds this very run, to be resumed.

    Raises:
        ValueError: the folder holds another run, or predictions of unknown origin; says what differs.
    """
    path = folder / RUN_FILE
    mend = "give another --output-dir, or delete this one"
    if not path.exists():
        if list(folder.glob("predictions*.jsonl")):
            raise ValueError(f"{folder} holds predictions but no {RUN_FILE} that says of which run; {mend}")
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{RUN_FILE}.unfinished"
        unfinished.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(path)
        return
    held = read_json(path, RunRecord)
    if held.split != record.split:
        held = replace(held, dataset_hash=record.dataset_hash)  # each split has its own; the split says it
    differences = [
        f"{name} {_told(held, name)} (asked for: {_told(record, name)})"
        for name in ("checkpoint", "dataset", "split", "num_studies", "max_new_tokens", "num_beams")
        if _identity(held, name) != _identity(record, name)
    ]
    if differences:
        raise ValueError(f"{folder} holds another run: {'; '.join(differences)}; {mend}")


def dataset_hash(studies: datasets.Dataset) -> str:
    """Identify a split by every text, label and image file of it, in 16 hex digits."""
    digest = hashlib.sha256()
    for rows in studies.remove_columns("images").iter(batch_size=1000):
        digest.update(json.dumps(rows, sort_keys=True).encode())
    for table in studies.with_format("arrow").select_columns("images").iter(batch_size=100):
        for image in table["images"].combine_chunks().flatten().field("bytes"):
            digest.update(hashlib.sha256(image.as_buffer()).digest())
    return digest.hexdigest()[:16]


def _identity(record: RunRecord, name: str):
    return getattr(record, f"{name}_hash", None) or getattr(record, name)


def _told(record: RunRecord, name: str) -> str:
    contents = getattr(record, f"{name}_hash", None)
    return f"{getattr(record, name)}" + (f" [{contents}]" if contents else "")
