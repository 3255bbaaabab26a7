"""The architecture that the folders promise: imports point one way, and no file's name hides another module.

A room is a folder of a package, or a file at its top. ROOMS is the order of the rooms of each package: a room imports
only from rooms on lines above its own, never from its own line and never from below.
"""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "vlm": """
        schema
        operating_point
        config uncertainty drafting
        inputs layers
        model
        checkpoint decoding explain
        precision
        generator
    """,
    "data": """
        study cli html_page
        reports
        images
        tables corrections pipeline
        synthetic audit
        sources
        prepare
        join
    """,
    "eval": """
        metrics
        checks
        predictions
        scoring retrieval
        controls
        probes
        report
        batch score compare show
    """,
    "train": """
        augment
        options
        studies run pretraining build
        loop
        card fit_ood
        finetune pretrain fit_probe fit_roc draft_index
    """,
    "page": """
        study accounts
        guard
        export corrections examples uploads
        cards
        api report archive node
        tabs
    """,
    "bench": """
        speed
        experiment
        run ablations archive data_scaling drafts growth gpu iu labeler_mesh error_orders
    """,
    "app": "app",
}
PAGE_MAY_USE = {"checks", "retrieval", "metrics.laterality", "metrics.errors", "report.charts"}
MAY_IMPORT = {
    "vlm": {},
    "data": {"vlm": {"schema"}},
    "train": {"vlm": None, "data": None, "eval": {"metrics"}},
    "eval": {"vlm": None, "data": None},
    "page": {"vlm": None, "data": None, "eval": PAGE_MAY_USE},
    "app": {"vlm": None, "data": None, "page": None},
    "bench": {"vlm": None, "data": None, "train": None, "eval": None},
}
"""Rooms of other packages that each package may import from; None: all of them."""
PROGRAMS = {
    *("data.join", "data.audit.__main__", "page.report", "page.archive.__main__", "page.node.__main__", "app"),
    *("train.finetune", "train.pretrain", "train.fit_probe", "train.fit_roc", "train.draft_index"),
    *("train.card.__main__",),
    *("eval.batch", "eval.score", "eval.compare", "eval.show"),
    *("bench.run", "bench.ablations", "bench.data_scaling", "bench.iu", "bench.labeler_mesh", "bench.error_orders"),
    *("bench.archive", "bench.drafts", "bench.gpu", "bench.growth"),
}
"""Imported by nobody."""
NO_TORCH = ("vlm.schema", "data", "eval.metrics")
"""Without torch, transformers or a model, so that they start at once; `eval.metrics.learned` is the exception."""
MAX_LINES = 400
MAX_ENTRIES = 14

FILES = sorted(
    path.relative_to(ROOT)
    for package in ROOMS
    for path in [*ROOT.glob(f"{package}/**/*.py"), *ROOT.glob(f"{package}.py")]
)
EXAMPLES = sorted(path.relative_to(ROOT) for path in ROOT.glob("examples/**/*.py"))
LINES = {package: [line.split() for line in order.strip().splitlines()] for package, order in ROOMS.items()}


def module_of(path):
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def room_of(module):
    """(package, room); the room of a package itself is ""."""
    package, _, rest = module.partition(".")
    return package, rest.split(".")[0] if rest else ("app" if package == "app" else "")


@cache
def tree_of(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def imports_of(path):
    """Dotted names of the modules that a file imports, also those inside functions."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import; write the package's name"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            names |= submodules or {node.module}
    return names


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way(path):
    module = module_of(path)
    package, room = room_of(module)
    line_of = {room: number for number, line in enumerate(LINES[package]) for room in line}
    assert not room or room in line_of, f"{path}: room {room!r} has no place in ROOMS"
    for name in imports_of(path):
        other, other_room = room_of(name)
        if other not in ROOMS:
            continue
        assert name not in PROGRAMS, f"{path} imports {name}, which is a program"
        if other == package:
            is_above = other_room == room or line_of[other_room] < line_of[room]
            assert is_above, f"{path} imports {name}, but {other_room} does not stand above {room}"
        else:
            assert other in MAY_IMPORT[package], f"{path} imports {name} of {other}"
            rooms = MAY_IMPORT[package][other]
            inside = name.removeprefix(f"{other}.")
            allowed = rooms is None or any(inside == room or inside.startswith(f"{room}.") for room in rooms)
            assert allowed, f"{path} imports {name}; of {other} it may import {rooms} only"


def test_examples_are_programs_and_no_package():
    """The wheel has no `examples`; a package of this name could hide another one."""
    assert EXAMPLES and not [path for path in EXAMPLES if path.name == "__init__.py"]
    for path in EXAMPLES:
        assert not imports_of(path) & PROGRAMS, f"{path} imports a program"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: imports_of(path) & set(MODULES) for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_rooms_without_torch_import_neither_torch_nor_a_model():
    for module, path in MODULES.items():
        light = any(module == room or module.startswith(f"{room}.") for room in NO_TORCH)
        if light and not module.startswith("eval.metrics.learned"):
            heavy = {"torch", "transformers", "vlm.model", "vlm.generator", "vlm.decoding"}
            assert not imports_of(path) & heavy, path


def test_every_room_in_the_order_exists():
    found = {room_of(module) for module in MODULES}
    assert {(package, room) for package, lines in LINES.items() for line in lines for room in line} <= found


def test_no_folder_is_a_heap():
    for folder in {path.parent for path in FILES if path.parent != Path()}:
        entries = {entry.name for entry in (ROOT / folder).iterdir()} - {"__init__.py", "__pycache__"}
        assert len(entries) <= MAX_ENTRIES, f"{folder} has {len(entries)} entries; is a room missing?"


def test_no_file_bears_the_name_of_a_library_or_standard_module():
    """`python train/finetune.py` puts train/ first on the path, where such a file would hide the real one."""
    taken = (set(sys.stdlib_module_names) | set(packages_distributions())) - set(ROOMS)
    top = {path.stem for path in FILES if len(path.parts) == 2 and path.parts[0] != "bench"}
    folders = {path.parts[1] for path in FILES if len(path.parts) > 2 and path.parts[0] != "bench"}
    assert not ((top | folders) - {"__init__"}) & taken


def test_no_file_is_a_drawer_for_everything():
    assert not {path.stem for path in FILES} & {"utils", "util", "helpers", "helper", "common", "misc", "base"}


def test_tests_mirror_the_packages():
    for path in (ROOT / "tests").glob("*/**/test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert (ROOT / folder).is_dir(), f"{path}: there is no folder {folder}"
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} lacks __init__.py and would hide a package"


def test_tests_import_what_they_share_from_helpers():
    for path in (ROOT / "tests").glob("**/*.py"):
        for name in imports_of(path.relative_to(ROOT)):
            shared = not name.startswith("tests.") or name.startswith("tests.helpers")
            assert shared, f"{path} imports {name}; move what both need to tests/helpers"


@pytest.mark.parametrize("path", FILES + EXAMPLES, ids=str)
def test_no_file_edits_the_path_or_shadows_eval(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "path"), f"{path}:{node.lineno} touches sys.path"
        if isinstance(node, ast.Import):
            for alias in node.names:
                hides = alias.name.split(".")[0] == "eval" and alias.asname is None
                assert not hides, f"{path}:{node.lineno} `import {alias.name}` hides the builtin; import from it"


@pytest.mark.parametrize("path", FILES + EXAMPLES, ids=str)
def test_every_file_opens_with_a_docstring_and_holds_one_concept(path):
    assert ast.get_docstring(tree_of(path)), f"{path} has no docstring"
    num_lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert num_lines <= MAX_LINES, f"{path} has {num_lines} lines; past {MAX_LINES} it holds two concepts"


def test_nothing_is_unpickled():
    for path in FILES + EXAMPLES:
        assert not imports_of(path) & {"pickle", "dill", "joblib", "shelve"}, path
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = (getattr(node.func.value, "id", None), node.func.attr)
                assert called != ("torch", "load"), f"{path}:{node.lineno}"
                allow_pickle = [keyword for keyword in node.keywords if keyword.arg == "allow_pickle"]
                assert not allow_pickle, f"{path}:{node.lineno}"
