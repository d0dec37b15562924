"""The house rules that a machine can check: who imports whom, sizes, completeness, clean files.

The picture these rules come from is docs/design.md. A new module must be given its place in LAYERS or
LEAVES here; that is the moment to think about where it belongs.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From top to bottom; a module may import modules of lower layers only, and what BESIDE allows.
LAYERS = (
    {"cli"},
    {"session"},
    {"fit", "descriptions", "arguments", "noise", "samples"},
    {"engines", "export", "encoders"},
    {
        "presets",
        "stopping",
        "variance",
        "result",
        "history",
        "tasks",
        "priors",
        "networks",
        "optimisers",
        "tiles",
        "objectives",
        "haze",
        "kernels",
        "_native",
    },
    {"views"},
    {"errors", "resizing"},
)
# Tasks and priors do not know each other: which settings fit which pair is the presets' business.
BESIDE = {
    "presets": {"tasks", "priors", "optimisers", "stopping", "variance"},
    "priors": {"networks"},
    "objectives": {"tasks", "haze", "kernels"},
    "tasks": {"haze"},
    "models": {"models", "tasks"},
    "stopping": {"result"},
    "variance": {"stopping", "result"},
    "result": {"history"},
    "export": {"engines"},
    "motion": {"views"},
    "arrays": {"unit_values"},
    "pixel_formats": {"bayer", "yuv"},
    "tensors": {"arrays"},  # a frame on a GPU is one in memory as soon as somebody wants an array
    "scene_file": {"images"},  # writing beside the target and renaming is done in one place
    "video": {"images", "arrays"},  # frames may be single pictures
}
# Files that were split off another, and count as it.
PART_OF = {
    "saved_session": "session",
    "course": "session",
    "report_page": "session",
    "measure": "session",
    "stopwatch": "session",
    "streaming": "session",
    "given": "session",
    "kept_fit": "session",
    "tiled_fit": "session",
    "together": "session",
    "clips": "session",
    "__main__": "cli",
    "preset_table": "presets",
}
PACKAGES = {
    "engines",
    "kernels",
    "export",
    "session",
    "cli",
    "tasks",
    "objectives",
    "presets",
    "models",
    "video",
    "networks",
}  # whose own files may import each other
LEAVES = {
    "arrays",
    "images",
    "video",
    "metrics",
    "motion",
    "models",
    "scene_file",
    "tensors",
    "unit_values",
    "pixel_formats",
    "bayer",
    "yuv",
}  # for session and cli alone
OUTSIDE_WORLD = {  # standard modules that reach files, clocks and threads
    "asyncio", "concurrent", "glob", "multiprocessing", "pathlib", "shutil", "signal", "tempfile",
    "threading", "time",
}  # fmt: skip
MAY_REACH_OUT = {"session", "cli"}
MAY_TOUCH_FILES = {"images", "models", "scene_file", "video"}
FILE_MODULES = {"glob", "pathlib", "shutil", "tempfile"}

CODE_ROOMS = ("dipedge", "kernels", "bindings", "export", "tests", "benchmarks", "examples")
CODE_SUFFIXES = {".py", ".c", ".cpp", ".h", ".cu"}
KERNEL_PIECES = ("__init__.py", "reference.py", "operator.py", "cpu.h", "cpu.cpp", "triton.py")


def code_files(*suffixes: str) -> list[Path]:
    """Every source file of ours, without what was built or installed beside it."""
    wanted = set(suffixes) or CODE_SUFFIXES
    files = [path for room in CODE_ROOMS for path in (ROOT / room).rglob("*") if path.suffix in wanted]
    files += [path for path in ROOT.glob("*.py") if path.suffix in wanted]
    return sorted(path for path in files if "__pycache__" not in path.parts)


def room_of(path: Path) -> str:
    """The word LAYERS and LEAVES know a module by: "engines" for dipedge/engines/base.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "dipedge":
        return parts[0]
    return PART_OF.get(parts[1], parts[1])


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module a file imports, anywhere in it (lazy imports count too), with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            # `from dipedge import priors` imports the module priors.
            modules = [f"dipedge.{name}" for name in names] if node.module == "dipedge" else [node.module]
            yield from ((module, node.lineno) for module in modules)


def allowed_rooms(room: str) -> set[str]:
    """What a module of ``room`` may import from dipedge."""
    if room in LEAVES:
        return LAYERS[-1] | ({room} & PACKAGES) | BESIDE.get(room, set())
    for index, layer in enumerate(LAYERS):
        if room in layer:
            below = set().union(*LAYERS[index + 1 :])
            own = {room} & PACKAGES
            leaves = LEAVES if room in ("session", "cli") else set()
            return below | own | leaves | BESIDE.get(room, set())
    pytest.fail(f"{room} has no place in LAYERS or LEAVES of {Path(__file__).name}")


def package_files() -> list[Path]:
    """Files that import rules hold for; __init__.py of dipedge only collects public names."""
    files = [path for room in ("dipedge", "kernels", "export") for path in (ROOT / room).rglob("*.py")]
    return sorted(path for path in files if path != ROOT / "dipedge" / "__init__.py")


def import_faults(source: str, room: str) -> list[str]:
    """One sentence for every import in ``source`` that a module of ``room`` may not have."""
    faults = []
    for module, line in imported_modules(ast.parse(source)):
        words = module.split(".")
        if words[0] == "dipedge" and len(words) > 1:
            target = PART_OF.get(words[1], words[1])
            if target not in allowed_rooms(room):
                faults.append(f"line {line}: {room} imports dipedge.{words[1]}, which is not below it")
        if words[0] in ("kernels", "export"):
            faults.append(f"line {line}: {module} is installed as dipedge.{module}")
        may_have_it = room in MAY_REACH_OUT or (room in MAY_TOUCH_FILES and words[0] in FILE_MODULES)
        if words[0] in OUTSIDE_WORLD and not may_have_it:
            faults.append(f"line {line}: {room} imports {words[0]}; that is for session and cli")
    return faults


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_upwards_or_reaches_out(path):
    assert import_faults(path.read_text(), room_of(path)) == []


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("from dipedge.session import Session", "fit"),
        ("from dipedge import session", "engines"),
        ("import dipedge.tasks", "priors"),
        ("def late():\n    from dipedge.priors import pip", "tasks"),
        ("from dipedge.priors import pip", "images"),
        ("import threading", "engines"),
        ("import pathlib", "fit"),
        ("import time", "images"),
        ("import kernels.adam", "engines"),
    ],
)
def test_the_import_rules_find_a_fault_that_is_there(source, room):
    assert len(import_faults(source, room)) == 1


def test_only_files_of_the_file_rooms_open_files():
    faults = []
    for path in package_files():
        if room_of(path) in MAY_REACH_OUT | MAY_TOUCH_FILES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            # What the system says about the machine (the processor's name) is no file of a user's.
            if isinstance(node, ast.Call) and re.match(r"open\((?!'/proc/)", ast.unparse(node)):
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert faults == []


def test_no_file_is_longer_than_400_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in code_files()}
    assert {str(path): count for path, count in lengths.items() if count > 400} == {}


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: a long explanation is no fault."""
    first = function.body[0]
    words = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if words else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_no_python_function_is_50_lines_or_longer():
    long = {}
    for path in code_files(".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_length(node) >= 50:
                long[f"{path.relative_to(ROOT)}:{node.name}"] = body_length(node)
    assert long == {}


def test_file_names_say_what_is_inside():
    vague = re.compile(r"(^|_)(utils?|helpers?|commons?|managers?|handlers?|misc)(_|$)")
    assert [str(path) for path in code_files() if vague.search(path.stem)] == []


def test_every_test_name_is_a_sentence():
    short = []
    for path in code_files(".py"):
        if path.parent.name not in ("tests", "benchmarks"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = [word for word in node.name.split("_")[1:] if word]
                if len(words) < 3:
                    short.append(f"{path.name}: {node.name}")
    assert short == []


def text_files() -> list[Path]:
    """Everything that would be committed and is text."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode != 0:  # an unpacked archive has no git
        return [*code_files(), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile"]
    names = [name for name in listed.stdout.split("\0") if name]
    return [
        ROOT / name for name in names if Path(name).suffix not in (".png", ".jpg") and (ROOT / name).is_file()
    ]


# Built from pieces so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?:^|[^\w.])/(?:" + "|".join(("work", "root", "farm", "home")) + r")/")


def test_no_file_mentions_a_path_of_one_machine():
    assert MACHINE_PATH.search('open("' + "/".join(("", "home", "someone", "x.png")) + '")')
    faults = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if MACHINE_PATH.search(line):
                faults.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert faults == []


def kernel_folders() -> list[Path]:
    """One folder is one kernel; engine/ drives them, simd/ and gpu/ are what they are written with."""
    folders = [path for path in (ROOT / "kernels").iterdir() if path.is_dir()]
    return sorted(path for path in folders if path.name not in ("engine", "simd", "gpu", "__pycache__"))


@pytest.mark.parametrize("folder", kernel_folders(), ids=lambda folder: folder.name)
def test_a_kernel_has_all_its_pieces(folder):
    pieces = [folder / piece for piece in KERNEL_PIECES]
    pieces.append(ROOT / "tests" / f"test_kernel_{folder.name}.py")
    pieces.append(ROOT / "tests" / f"test_triton_{folder.name}.py")
    pieces.append(ROOT / "benchmarks" / f"bench_kernel_{folder.name}.py")
    assert [str(piece.relative_to(ROOT)) for piece in pieces if not piece.is_file()] == []


@pytest.mark.parametrize("folder", kernel_folders(), ids=lambda folder: folder.name)
def test_a_kernel_includes_nothing_of_the_cpp_library(folder):
    """An inline function of the C++ library compiled with AVX-512 could be linked for everybody."""
    sources = [*folder.glob("cpu*.h"), *folder.glob("cpu*.cpp")]
    allowed = re.compile(rf'<\w+\.h>|"simd/\w+\.h"|"{folder.name}/\w+\.h"')
    includes = [
        f"{path.name}: {line.strip()}"
        for path in sources
        for line in path.read_text().splitlines()
        if re.match(r"\s*#\s*include", line) and not allowed.fullmatch(line.split(maxsplit=1)[1].strip())
    ]
    assert sources and includes == []


def test_every_python_folder_that_is_installed_is_a_package():
    """setup.py finds packages by their __init__.py; without one a folder is silently not installed."""
    folders = {path.parent for path in package_files()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def run_python(code: str) -> str:
    """Runs ``code`` in a fresh interpreter outside the repository and returns what it printed."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(sys.prefix))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_importing_dipedge_loads_no_heavy_module():
    heavy = {"torch", "dipedge._native", "PIL", "typer", "rich", "onnx", "onnxruntime", "triton", "av"}
    loaded = run_python("import sys, dipedge; print(*sys.modules)").split()
    assert "dipedge" in loaded
    assert heavy & set(loaded) == set()


def test_importing_dipedge_takes_under_300_milliseconds():
    code = "import time; start = time.perf_counter(); import dipedge; print(time.perf_counter() - start)"
    # The best of several: the first run reads files from disk, and other processes take the processor.
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


def environment_variables() -> set[str]:
    """Names of the DIPEDGE_ variables that our code reads from the environment."""
    reads = re.compile(r'(?:environ\.get|environ|getenv|setenv|delenv)\s*[\[(]\s*"(DIPEDGE_\w+)"')
    return {name for path in code_files() for name in reads.findall(path.read_text())}


def test_every_environment_variable_stands_in_the_table():
    table = (ROOT / "docs" / "environment.md").read_text()
    documented = set(re.findall(r"^\| `(DIPEDGE_\w+)`", table, flags=re.M))
    assert environment_variables() == documented


def project_table() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_dependency_has_its_reason_in_the_docs():
    project = project_table()
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], *chain(*extras)]
    names = {re.match(r"[\w.-]+", requirement).group() for requirement in wanted}
    documented = set(re.findall(r"^\| `([\w.-]+)`", (ROOT / "docs" / "dependencies.md").read_text(), re.M))
    assert names - documented == set()
    assert documented - names == set()


def test_all_files_agree_on_the_version():
    version = project_table()["project"]["version"]
    cmake = re.search(r"project\(dipedge VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert cmake.group(1) == version
    assert run_python("from importlib.metadata import version; print(version('dipedge'))") == version


def test_every_example_picture_names_its_licence():
    licences = (ROOT / "examples" / "LICENSES.md").read_text()
    pictures = [path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".png", ".jpg")]
    assert len(pictures) >= 2
    assert [name for name in pictures if f"`{name}`" not in licences] == []


def test_every_name_the_readme_uses_is_public():
    names = set(re.findall(r"\bde\.(\w+)", (ROOT / "README.md").read_text()))
    assert len(names) > 5
    assert (
        run_python(f"import dipedge; print([n for n in {sorted(names)} if not hasattr(dipedge, n)])") == "[]"
    )
