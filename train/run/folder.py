"""The output folder of a run.

training_config.json   the options of the run       train_log.jsonl   one line per step and validation
states/                saved states, to resume      tensorboard/      the same metrics
tokenizer/             the tokenizer of the run     best/             the best checkpoint
study_digests.json     a digest of the studies; with --stream, stream_files.json: the Parquet files that the run reads
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from filelock import FileLock, Timeout

from train.options import TrainingOptions, read_options
from vlm.schema.atomic import partial_path, write_atomically, write_json

MAY_CHANGE = {
    *("resume", "num_workers", "save_steps", "save_total_limit", "output_dir", "image_cache_gib"),
    *("early_stopping", "merge", "merge_precision"),
}
"""Options that may change when a run is resumed: they have no effect on the weights."""
LOCK = ".lock"
START_FILES = {
    *("training_config.json", "study_digests.json", "stream_files.json"),
    *("tokenizer", "tokenizer.partial", "files.partial", "tensorboard", LOCK),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
}
"""What a run writes before it trains. If there is nothing else, the run failed at the start and the folder is free."""

logger = logging.getLogger(__name__)


@contextmanager
def start_run(options: TrainingOptions, accelerator: Accelerator) -> Iterator[Path]:
    """Lock and open the run's folder and set the seed, in all processes. Raises as `lock_run` and `open_run`."""
    with lock_run(Path(options.output_dir)) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            open_run(options)
        accelerator.wait_for_everyone()
        set_seed(options.run.seed)
        yield Path(options.output_dir)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder. The operating system frees the lock of a killed process.

    Raises:
        ValueError: another process trains in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"--output-dir {folder}: another process is training in this folder; wait until it ends, stop it, or give "
            "another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def open_run(options: TrainingOptions) -> Path:
    """Create the folder of a new run, or check that the folder holds the run to resume.

    Raises:
        ValueError: the folder holds another run, or no run to resume; names the option that differs.
    """
    folder = Path(options.output_dir)
    settings = folder / "training_config.json"
    if options.resume:
        if not settings.is_file():
            raise ValueError(
                f"--resume: {folder} holds no run (no training_config.json); leave --resume out to start one"
            )
        _check_same(settings, options)
    else:
        found = list(folder.iterdir()) if folder.is_dir() else []
        # Without training_config.json no run started here, and a folder of tokenizer files belongs to the user.
        is_failed_start = settings in found and {path.name for path in found} <= START_FILES
        if not is_failed_start and {path.name for path in found} - {LOCK}:
            raise ValueError(
                f"--output-dir {folder} already holds a run or other files; give --resume to continue the run, "
                "or another folder for a new run"
            )
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
    write_json(settings, options.as_json())
    return folder


def _check_same(path: Path, options: TrainingOptions) -> None:
    """Compare with the options of the saved run; an option that did not exist then had its default."""
    saved, given = read_options(path, type(options)).as_json(), options.as_json()
    if options.num_epochs > saved["num_epochs"]:
        logger.warning(
            "--num-epochs is raised from %d to %d. From here on the learning rate follows the schedule of %d epochs, "
            "so it jumps up. The result differs from that of a run which had this number of epochs from the start.",
            saved["num_epochs"],
            options.num_epochs,
            options.num_epochs,
        )
        saved["num_epochs"] = options.num_epochs
    for name in sorted(saved):
        if name not in MAY_CHANGE and saved[name] != given[name]:
            raise ValueError(
                f"--resume: {path} says {name} = {saved[name]!r} but {given[name]!r} was given; "
                "give the run's own value, or start a new run in another folder"
                + (" (the number of epochs can only be raised)" if name == "num_epochs" else "")
            )


class TrainLog:
    """`train_log.jsonl`: one record per line, written immediately."""

    def __init__(self, folder: Path):
        self.path = folder / "train_log.jsonl"

    def write(self, **record: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All records, without a line that a kill cut off."""
        records = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records

    def rewind(self, step: int, epoch: int) -> None:
        """Remove steps after `step` and validations from `epoch` on (-1: all validations): those are run again."""
        if self.path.is_file():
            kept = [
                json.dumps(record) + "\n"
                for record in self.read()
                if record["step"] <= step and ("validation" not in record or record["epoch"] < epoch)
            ]
            write_atomically(self.path, "".join(kept))


def write_files(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, then move its files into `folder`."""
    partial = partial_path(folder / "files")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    for path in sorted(partial.iterdir()):
        path.replace(folder / path.name)
    partial.rmdir()
