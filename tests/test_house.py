"""The rules of the house, kept by a test: floors, sizes, what may never be written."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "netwright"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.parts)
MOST_LINES = 400
MOST_LINES_IN_ALL = 73_500  # with export, its runtime, the server and its page; kernels for dense layers; own tracing

# Floors: a module may import from floors below its own, and inside its own package. Lowest first.
FLOORS = (
    {"allocation", "precision", "randomness", "errors", "traces", "native"},
    {"words"},
    {"timeline", "windows", "rows", "recordings", "pixels", "sounds", "log_mel", "ctc", "transcripts", "preprocess"}
    | {"records", "results", "batch", "disk", "extracts", "sources", "signals"},
    {"blocks", "gradients", "intervals", "metrics", "optim", "options", "run", "references", "misfit"},
    {"tasks", "checkpoints", "data", "evaluation", "models", "binding", "frames"},
    {"sums", "outcome"},
    {"step"},
    {
        "starters",
        "sampling",
        "copies",
        "given",
        "layout",
        "planning",
        "session",
        "inference",
        "predicting",
        "generation",
        "tables",
        "plots",
        "progress",
        "wording",
        "marked",
        "checks",
    },
    {"answering"},
    {"plans", "serving"},
    {"blame", "events", "journal", "loop", "packing", "saving", "training"}
    | {"reporting", "sections", "watch", "shipping"},
    {"api"},
    {"asking", "flags", "checking"},
    {"cli", "commands", "__main__", "__init__"},
)
FREE_OF_TORCH = {
    "errors", "traces", "records", "results", "rows", "timeline", "windows", "recordings", "pixels", "preprocess",
    "log_mel", "disk", "run", "progress", "cli", "commands", "starters", "reporting", "plots", "sections", "wording",
    "metrics", "evaluation", "intervals", "tables", "words", "marked", "asking", "flags", "checking",
    "allocation", "answering", "serving", "native",
}  # fmt: skip
# Ways to run code that lies in data.
FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "runpy", "code", "codeop", "pty", "imp"}
FORBIDDEN_CALLS = {
    "eval", "exec", "torch.load", "torch.save", "yaml.load", "extractall", "os.system", "os.popen", "__import__",
    "np.load", "numpy.load", "torch.hub.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "pd.read_pickle",
    "torch.jit.load", "torch.ops.load_library",
}  # fmt: skip
# Names that would hide one of these calls.
HIDING = {"load", "save", "eval", "exec", "system", "popen", "unsafe_load", "full_load", "read_pickle", "extractall"}
# Where programs are started, libraries loaded and modules found by a name: each looked at, none by a name from data.
REVIEWED = {
    "subprocess": {"shipping/asked.py", "serving/supervising.py", "journal.py", "assets.py", "native.py"},
    "ctypes": {
        "allocation.py", "native.py", "data/picture_kernels.py", "data/spectra_kernels.py", "plans/compiled.py",
        "plans/recurrent_kernels.py", "plans/winograd.py", "plans/dense.py", "plans/dense_code.py",
    },
    "import_module": {
        "errors.py", "__init__.py", "data/__init__.py", "references.py", "answering/alone/run.py",
    },
    "compile": {"references.py", "shipping/patched.py"},
    "torch.export.load": {"shipping/certificate.py"},  # of what the same process has just written
}  # fmt: skip
TOOLS = sorted((PACKAGE.parent.parent / "tools").glob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file's tree, which several rules look at."""
    return ast.parse(path.read_text(encoding="utf-8"))


def floor_of(module: str) -> int:
    return next(level for level, names in enumerate(FLOORS) if module in names)


def top(path: Path) -> str:
    """The module of a file on the first level of the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, late: bool = True) -> set[str]:
    """First-level modules of the package that a file imports; imports in functions too where ``late``."""
    tree = parsed(path)
    nodes = list(ast.walk(tree)) if late else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "netwright":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


def test_every_module_stands_on_a_floor() -> None:
    """A new module is given its place."""
    assert {top(path) for path in FILES} == set().union(*FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """No module imports from its own floor's upstairs; neighbours on a floor may know each other one way."""
    own = top(path)
    if own == "__init__" or path.name == "__main__.py":
        return
    wrong = {name for name in imports(path) if name != own and name != "__version__" and floor_of(name) > floor_of(own)}
    assert not wrong


def test_no_two_modules_import_each_other() -> None:
    """On a floor, knowledge goes one way."""
    knows = {top(path): set() for path in FILES}
    for path in FILES:
        knows[top(path)] |= imports(path) - {top(path)}
    pairs = {(a, b) for a in knows for b in knows[a] if a in knows.get(b, set()) and "__init__" not in (a, b)}
    assert not pairs


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_long(path: Path) -> None:
    """A file that grows past its ceiling is two files."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_package_is_small() -> None:
    """The ceiling is raised in a commit of its own, with its reason."""
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) <= MOST_LINES_IN_ALL


def _ways(node: ast.AST) -> set[str]:
    """What of REVIEWED a node uses."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names} & REVIEWED.keys()
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]} & REVIEWED.keys()
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return {called, called.removeprefix("importlib.")} & REVIEWED.keys()


def test_ways_to_programs_and_modules_are_in_few_places() -> None:
    """A new one is looked at, and written down here."""
    found: dict[str, set[str]] = {way: set() for way in REVIEWED}
    for path in (*FILES, *TOOLS):
        for node in ast.walk(parsed(path)):
            for way in _ways(node):
                found[way].add(path.name if path in TOOLS else path.relative_to(PACKAGE).as_posix())
    assert found == REVIEWED


@pytest.mark.parametrize("kind", ["image", "text", "sound", "table", "series", "tensor"])
def test_a_bundle_brings_only_code_that_was_looked_at(kind: str) -> None:
    """What lies in runtime/ is the package's own files, which the tests here read."""
    from netwright.answering.standalone import runtime_files

    known = {path.read_bytes() for path in FILES}
    assert not [name for name, content in runtime_files(kind).items() if content not in known]


@pytest.mark.parametrize("path", [*FILES, *TOOLS], ids=lambda path: str(path.relative_to(PACKAGE.parent.parent)))
def test_nothing_runs_code_that_lies_in_data(path: Path) -> None:
    """No pickle and nothing like it; only ``references`` runs code, the person's own module."""
    tree = parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN
            if (node.module or "").split(".")[0] in ("torch", "os", "yaml", "numpy", "pandas"):
                assert not {alias.name for alias in node.names} & HIDING
        if isinstance(node, ast.Call) and path != PACKAGE / "references.py":
            called = ast.unparse(node.func)
            assert called not in FORBIDDEN_CALLS
            assert called.split(".")[-1] not in {"extractall"}
            assert not any(
                keyword.arg == "allow_pickle" or (keyword.arg == "shell" and ast.unparse(keyword.value) == "True")
                for keyword in node.keywords
            )


def loaded(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Neither torch nor NumPy nor pydantic: each name is fetched when it is used."""
    assert not loaded("import netwright") & {"torch", "numpy", "pydantic", "rich", "sklearn", "PIL"}


def test_help_imports_no_torch() -> None:
    """The command line answers before torch could be loaded."""
    code = (
        "import contextlib\nfrom netwright.cli import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['train', '--help'])"
    )
    assert "torch" not in loaded(code)


def test_modules_that_serve_do_without_torch() -> None:
    """Records, disk, run folder and report can be read on a machine without torch: all of them in one process."""
    every = [f"import netwright.{module}" for module in sorted(FREE_OF_TORCH)]
    if "torch" in loaded("\n".join(every)):
        assert not [one for one in every if "torch" in loaded(one)]


def test_settings_are_a_frozen_list() -> None:
    """An option is added on purpose, here as well."""
    from netwright.records import LoadOptions, Settings

    assert list(Settings.model_fields) == [
        "epochs", "batch_size", "loss", "optimizer", "optimizer_args", "lr", "weight_decay", "schedule", "warmup_steps",
        "max_grad_norm", "gradient_accumulation_steps", "ema_decay", "class_weights", "augment", "patience", "monitor",
        "keep", "on_nonfinite", "checkpoint_every_steps", "log_every_steps", "plan", "device", "dtype", "threads",
        "workers", "seed", "skip",
    ]  # fmt: skip
    assert list(LoadOptions.model_fields) == [
        "image_size", "image_mode", "val_fraction", "test_fraction", "group_by", "split_seed", "horizon",
        "context", "test_group", "sample_rate", "max_seconds", "mel_bands", "task", "input", "target", "tokenizer",
        "vocab_size", "max_length", "cache_gb", "max_unreadable",
    ]  # fmt: skip
