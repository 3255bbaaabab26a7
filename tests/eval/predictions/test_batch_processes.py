"""Several processes share the studies of a batch evaluation."""

import dataclasses
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets

from eval.predictions.generate import GenerationRun, Job, write_predictions
from eval.predictions.prediction import Prediction, read_lines
from tests.helpers.fake_generator import FakeGenerator
from vlm.generator import GenerationOptions


@dataclasses.dataclass
class OneOfTwo:
    """One of two processes, as a thread: a fake of accelerate's PartialState with a real barrier."""

    process_index: int
    barrier: threading.Barrier
    num_processes: int = 2

    @property
    def is_main_process(self) -> bool:
        return self.process_index == 0

    def wait_for_everyone(self):
        self.barrier.wait(timeout=30)


def test_two_processes_share_the_studies_and_one_merges_them(fake_studies, tmp_path):
    studies = datasets.load_from_disk(str(fake_studies))["test"]
    generators = [FakeGenerator(broken=(3,)), FakeGenerator(broken=(3,))]
    barrier = threading.Barrier(2)

    def share(index):
        run = GenerationRun(
            generator=generators[index],
            studies=studies,
            folder=tmp_path,
            options=GenerationOptions(),
            batch_size=4,
            processes=OneOfTwo(index, barrier),
            track=lambda total, description: lambda amount: None,
        )
        return write_predictions(run, [Job(study=row, images_of=row) for row in range(16)])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(share, (0, 1))
    assert first == second
    assert generators[0].shown == list(range(0, 16, 2))
    assert list(first.predictions) == [f"test{number:02d}" for number in range(16) if number != 3]
    assert [rejection.study_id for rejection in first.rejections] == ["test03"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


TWO_PROCESSES = """
import os, pathlib, sys
import eval.batch
from tests.helpers.fake_generator import FakeGenerator
generator = FakeGenerator()
eval.batch.ReportGenerator.from_pretrained = lambda name, device, precision: generator
eval.batch.main(sys.argv[1:])
pathlib.Path(__file__).with_name("shown" + os.environ["RANK"]).write_text(str(len(generator.shown)))
"""


def test_two_launched_processes_share_the_studies(fake_studies, tmp_path):
    (tmp_path / "script.py").write_text(TWO_PROCESSES)
    paths = [str(Path(__file__).parents[3])]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = {"checkpoint": "c", "dataset": fake_studies, "output-dir": tmp_path / "out", "num-resamples": 5}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    launched = subprocess.run(
        [*torchrun, str(tmp_path / "script.py"), *argv, "--controls"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 0, launched.stderr[-2000:]
    assert [(tmp_path / f"shown{rank}").read_text() for rank in (0, 1)] == ["8", "8"]
    assert launched.stdout.count("16 of 16 studies reported, 0 rejected") == 1
    assert len(read_lines(tmp_path / "out" / "predictions.jsonl", Prediction)) == 16
