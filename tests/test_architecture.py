"""The architecture that the folders promise: imports point one way, and no file's name hides another module."""

import ast
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN = {"vlm", "data", "train", "eval", "page", "app", "bench"}
MAY_IMPORT = {
    "vlm": {"vlm"},
    "data": {"data", "vlm"},
    "train": {"train", "vlm", "data", "eval"},
    "eval": {"eval", "vlm", "data"},
    "page": {"page", "vlm", "data", "eval"},
    "app": {"page", "vlm", "data", "eval"},
    "bench": {"bench", "vlm", "data", "train", "eval"},
}
PROGRAMS = {Path("page/report.py"): {"vlm", "page", "data"}}
"""Programs that stand beside what they show and are imported by nobody: what they may import."""
METRICS = {
    "eval.metrics.bleu",
    "eval.metrics.bootstrap",
    "eval.metrics.probabilities",
    "eval.metrics.chrf",
    "eval.metrics.cider",
    "eval.metrics.clinical",
    "eval.metrics.meteor",
    "eval.metrics.normalization",
    "eval.metrics.rouge",
}
"""What train may take from eval: files that turn strings and arrays into scores."""

FILES = sorted(
    path.relative_to(ROOT)
    for package in OWN
    for path in [*ROOT.glob(f"{package}/**/*.py"), *ROOT.glob(f"{package}.py")]
)


@cache
def tree_of(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports_of(path):
    """Dotted names of the modules that a file imports."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import; write the package's name"
            names.add(node.module)
    return names


def package_of(path):
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [path for path in FILES if package_of(path) in MAY_IMPORT], ids=str)
def test_imports_point_one_way(path):
    for name in imports_of(path):
        package = name.split(".")[0]
        if package in OWN:
            assert package in PROGRAMS.get(path, MAY_IMPORT[package_of(path)]), f"{path} imports {name}"
            assert Path(f"{name.replace('.', '/')}.py") not in PROGRAMS, f"{path} imports {name}, which is a program"
            if package_of(path) == "train" and package == "eval":
                assert name in METRICS, f"{path} imports {name}, which is no metric"


def test_metric_files_import_neither_torch_nor_the_model():
    for name in METRICS:
        heavy = {"torch", "transformers", "vlm.model", "vlm.generator", "vlm.decoding"}
        assert not imports_of(Path(name.replace(".", "/") + ".py")) & heavy, name


def test_no_file_bears_the_name_of_a_library_or_standard_module():
    """`python train/finetune.py` puts train/ first on the path, where such a file would hide the real one."""
    taken = (set(sys.stdlib_module_names) | set(packages_distributions())) - OWN
    names = {path.stem for path in FILES if package_of(path) != "bench"} - {"__init__"}
    assert not names & taken


def test_no_file_is_a_drawer_for_everything():
    assert not {path.stem for path in FILES} & {"utils", "util", "helpers", "helper", "common", "misc", "base"}


def test_test_files_lie_flat_beside_each_other():
    """Folders hold tables; one with modules could hide the package of its name."""
    assert not [path for path in (ROOT / "tests").glob("*/**/*.py") if "__pycache__" not in path.parts]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_edits_the_path_or_shadows_eval(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "path"), f"{path}:{node.lineno} touches sys.path"
        if isinstance(node, ast.Import):
            for alias in node.names:
                hides = alias.name.split(".")[0] == "eval" and alias.asname is None
                assert not hides, f"{path}:{node.lineno} `import {alias.name}` hides the builtin; import from it"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_opens_with_a_docstring_and_holds_one_concept(path):
    assert ast.get_docstring(tree_of(path)), f"{path} has no docstring"
    num_lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert num_lines <= 300, f"{path} has {num_lines} lines; past 300 it holds two concepts"


def test_nothing_is_unpickled():
    for path in FILES:
        assert not imports_of(path) & {"pickle", "dill", "joblib", "shelve"}, path
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = (getattr(node.func.value, "id", None), node.func.attr)
                assert called != ("torch", "load"), f"{path}:{node.lineno}"
                allow_pickle = [keyword for keyword in node.keywords if keyword.arg == "allow_pickle"]
                assert not allow_pickle, f"{path}:{node.lineno}"
