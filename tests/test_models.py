"""Loading a person's module, keeping its source, and saying what is wrong with a reference or a file."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from netwright.errors import MissingFileError, ModelError, UnknownNameError, UsageError
from netwright.models import copy_sources, load_function, load_model, net_spec, parse_arguments

SHAPES = Path(__file__).parent / "shapes"
TUTORIAL = Path(__file__).parents[1] / "examples" / "tutorial" / "net.py"
NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.fc = nn.Linear(2, width)

    def forward(self, x):
        return self.fc(x)
"""


def write(folder: Path, **files: str) -> Path:
    """Write Python files; two underscores in a name stand for a folder."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def shapes_of(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in model.state_dict().values()]


def test_tutorial_net_is_loaded_as_the_plain_class():
    """The module is the person's own class with its own parameter names, neither wrapped nor renamed."""
    model = load_model(f"{TUTORIAL}:Net")
    assert type(model).__name__ == "Net"
    assert type(model).__mro__[1] is nn.Module
    assert sorted({name.partition(".")[0] for name in model.state_dict()}) == ["conv1", "conv2", "fc1", "fc2"]
    assert sum(p.numel() for p in model.parameters()) == 1_199_882


def test_a_relative_reference_starts_from_root(tmp_path):
    """The same reference means the file below the root that is given."""
    write(tmp_path, net=NET)
    assert load_model("net.py:Net", root=tmp_path).fc.out_features == 4


def test_a_reference_starts_from_the_current_folder(tmp_path, monkeypatch):
    """Without a root, files and dotted modules are looked for in the current folder."""
    write(tmp_path, lines_net=NET, lines_pkg__part=NET)
    monkeypatch.chdir(tmp_path)
    for reference in ("lines_net.py:Net", "./lines_net.py:Net", "lines_net:Net", "lines_pkg.part:Net"):
        assert load_model(reference, {"width": 7}).fc.out_features == 7


def test_an_installed_module_is_loaded_by_its_dotted_name():
    """A class of an installed package is named package.module:Class."""
    model = load_model("torch.nn:Linear", {"in_features": 3, "out_features": 2})
    assert isinstance(model, nn.Linear)


def test_two_files_of_one_name_do_not_clash(tmp_path):
    """Each net.py is itself, and each gets the blocks.py beside it."""
    for name, size in (("first", 3), ("second", 5)):
        write(
            tmp_path / name,
            net="import blocks\nfrom torch import nn\n\ndef make():\n    return nn.Linear(1, blocks.SIZE)\n",
            blocks=f"SIZE = {size}\n",
        )
    sizes = [load_model(f"{tmp_path / name}/net.py:make").out_features for name in ("first", "second", "first")]
    assert sizes == [3, 5, 3]


def test_a_copy_beneath_the_folder_does_not_clash_with_it(tmp_path):
    """A run's model folder lies beneath the person's; each file still gets the sibling beside it."""
    for place, size in (("", 3), ("runs/one/model", 5)):
        write(
            tmp_path / place,
            net="import parts_d\nfrom torch import nn\n\ndef make():\n    return nn.Linear(1, parts_d.SIZE)\n",
            parts_d=f"SIZE = {size}\n",
        )
    folders = (tmp_path / "runs/one/model", tmp_path, tmp_path / "runs/one/model")
    assert [load_model("net.py:make", root=folder).out_features for folder in folders] == [5, 3, 5]


def test_sys_path_is_left_as_it_was(tmp_path):
    """Loading a file with a sibling leaves no folder on sys.path."""
    write(tmp_path, net="import helper_a\n" + NET, helper_a="")
    before = list(sys.path)
    load_model(f"{tmp_path}/net.py:Net")
    assert sys.path == before


def test_a_sibling_imported_when_called_is_still_found(tmp_path, monkeypatch):
    """A folder stays, at the end of sys.path, where forward imports a sibling only when it runs."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    forward = "\n    def forward(self, x):\n        import helper_late\n        return helper_late.double(x)\n"
    write(tmp_path, net=NET + forward, helper_late="def double(x):\n    return 2 * x\n")
    model = load_model(f"{tmp_path}/net.py:Net")
    assert sys.path[-1] == str(tmp_path)
    assert model(torch.ones(1)).item() == 2


def test_an_edited_file_and_an_edited_sibling_are_read_anew(tmp_path):
    """Loading again after an edit gives what the files say now."""
    write(tmp_path, net="from parts_e import make_it\n\ndef make():\n    return make_it()\n")
    for size in (2, 30):
        write(tmp_path, parts_e=f"from torch import nn\n\ndef make_it():\n    return nn.Linear(1, {size})\n")
        assert load_model(f"{tmp_path}/net.py:make").out_features == size


def test_a_module_of_the_program_is_put_back(tmp_path, monkeypatch):
    """A sibling that bears the name of a module the program itself imported does not replace it."""
    write(tmp_path / "program", helper_b="WHO = 'program'\n")
    write(tmp_path / "model", net="import helper_b\nWHO = helper_b.WHO\n" + NET, helper_b="WHO = 'model'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "program"))
    helper_b = importlib.import_module("helper_b")
    model = load_model(f"{tmp_path}/model/net.py:Net")
    assert sys.modules[type(model).__module__].WHO == "model"
    assert sys.modules["helper_b"] is helper_b


def test_files_of_a_package_are_imported_as_its_parts(tmp_path):
    """Relative and absolute imports inside a package with __init__.py both work, from a file deep in it."""
    write(
        tmp_path,
        pack_c__parts__net="from ..sizes import A\nfrom pack_c.sizes import B\nfrom torch import nn\n\n"
        "def make():\n    return nn.Linear(A, B)\n",
        pack_c__sizes="A = 3\nB = 4\n",
    )
    for folder in ("pack_c", "pack_c/parts"):
        (tmp_path / folder / "__init__.py").write_text("")
    model = load_model(f"{tmp_path}/pack_c/parts/net.py:make")
    assert (model.in_features, model.out_features) == (3, 4)


def test_relative_imports_work_without_init_files():
    """A folder with relative imports and no __init__.py is a package all the same."""
    model = load_model(f"{SHAPES}/nested/net.py:Net")
    assert type(model.blocks[0]).__module__.endswith(".blocks")


def test_constructor_arguments_are_passed():
    """Arguments reach the constructor under their names."""
    model = load_model(f"{SHAPES}/arguments.py:Net", {"hidden": 12, "act": "tanh", "sizes": [64, 20]})
    assert [layer.out_features for layer in model.layers if isinstance(layer, nn.Linear)] == [20, 12, 10]


def test_arguments_are_read_as_python_literals_else_as_text():
    """Numbers, lists, booleans and None are literals; anything else is text."""
    texts = ["hidden=128", "act=relu", "sizes=[1,2]", "p=0.5", "bias=False", "norm=None", "on=true", "eq=a=b", "s='3'"]
    assert parse_arguments(texts) == {
        "hidden": 128,
        "act": "relu",
        "sizes": [1, 2],
        "p": 0.5,
        "bias": False,
        "norm": None,
        "on": True,
        "eq": "a=b",
        "s": "3",
    }


@pytest.mark.parametrize("texts", [["hidden"], ["=3"], ["a b=3"], ["a=1", "a=2"]])
def test_malformed_arguments_are_refused(texts):
    """No equals sign, no name, or a name given twice is an error that shows how to write it."""
    with pytest.raises(UsageError, match="--arg"):
        parse_arguments(texts)


def test_loading_writes_no_bytecode(tmp_path):
    """No __pycache__ appears in the person's folder."""
    write(tmp_path, net="import helper_n\n" + NET, helper_n="")
    load_model(f"{tmp_path}/net.py:Net")
    assert not list(tmp_path.rglob("__pycache__"))


# ---- what is wrong, and its cure


def refused(kind: type[Exception], reference: str, arguments=None) -> str:
    with pytest.raises(kind) as caught:
        load_model(reference, arguments)
    error = caught.value
    assert all((error.where, error.expected, error.got, error.cure))
    return str(error)


def test_a_missing_file_names_the_nearest_one(tmp_path):
    """A misspelt file name is told with the file that is there."""
    write(tmp_path, network=NET)
    assert 'Did you mean "' in (text := refused(MissingFileError, f"{tmp_path}/netwrok.py:Net"))
    assert "network.py:Net" in text


def test_a_missing_folder_names_what_is_there(tmp_path):
    """A misspelt folder is told with the nearest folder."""
    write(tmp_path, models__net=NET)
    assert 'Did you mean "models"' in refused(MissingFileError, f"{tmp_path}/modles/net.py:Net")


def test_a_missing_dotted_module_says_how_to_write_a_file():
    """A module that is not there is told with the form of a file's reference."""
    assert "path/file.py:Class" in refused(MissingFileError, "no_such_module_here:Net")


def test_a_file_without_a_name_lists_classes_and_functions(tmp_path):
    """The file alone is refused; the cure lists what it defines, not what it imports."""
    write(tmp_path, net=NET + "\n\ndef make_net():\n    return Net()\n\n\nclass Config:\n    pass\n")
    text = refused(UsageError, f"{tmp_path}/net.py")
    assert "net.py:Net," in text
    assert "net.py:make_net." in text
    assert "Config" not in text


def test_a_folder_and_a_notebook_are_refused(tmp_path):
    """Only Python files can be named."""
    write(tmp_path, net=NET)
    (tmp_path / "net.ipynb").write_text("{}")
    assert "a folder" in refused(UsageError, f"{tmp_path}:Net")
    assert "net.py" in refused(UsageError, f"{tmp_path}/net.ipynb:Net")


def test_a_class_not_in_the_file_names_the_nearest_one(tmp_path):
    """A misspelt class is told with the classes and functions of the file."""
    write(tmp_path, net=NET)
    text = refused(UnknownNameError, f"{tmp_path}/net.py:Nat")
    assert 'Did you mean "Net"' in text
    assert "Known: Net." in text


@pytest.mark.parametrize("reference", ["", ":Net", "..:Net"])
def test_an_empty_reference_shows_the_form(reference):
    """Neither a file nor a module: the error shows how to write one."""
    assert "net.py:Net" in refused(UsageError, reference)


def test_a_missing_relative_import_is_told_in_the_persons_names(tmp_path):
    """The name made up for a folder without __init__.py stays out of messages."""
    write(tmp_path / "rel", net="from .nope import x\n")
    text = refused(ModelError, f"{tmp_path}/rel/net.py:Net")
    assert "the module nope" in text
    assert "rel_" not in text


@pytest.mark.parametrize(("name", "word"), [("Config", "class Config"), ("SIZE", "int"), ("made", "of Linear")])
def test_what_is_no_module_is_refused(tmp_path, name, word):
    """A plain class, a value and an instance are told apart."""
    write(tmp_path, net=NET + "\n\nclass Config:\n    pass\n\n\nSIZE = 3\nmade = nn.Linear(1, 1)\n")
    assert word in refused(ModelError, f"{tmp_path}/net.py:{name}")


def test_missing_constructor_arguments_are_shown_with_the_option():
    """The signature and the option that gives the missing argument are in the message."""
    text = refused(UsageError, f"{SHAPES}/arguments.py:Net")
    assert "Net(hidden: int, act: str = 'relu', sizes=(64,))" in text
    assert "--arg hidden=128" in text


def test_an_unknown_constructor_argument_names_the_nearest():
    """A misspelt argument is told with the known ones."""
    text = refused(UsageError, f"{SHAPES}/arguments.py:Net", {"hiden": 12})
    assert 'Did you mean "hidden"' in text
    assert "Known: act, hidden, sizes." in text


def test_an_error_in_the_constructor_is_shown_at_its_line():
    """An argument of a wrong type shows the person's line, and no frame of torch or of ours."""
    text = refused(ModelError, f"{SHAPES}/arguments.py:Net", {"hidden": 12, "act": "rleu", "sizes": [64, 8]})
    assert "arguments.py:13" in text
    assert "ACTIVATIONS[act]()" in text
    assert "site-packages" not in text
    assert "models.py" not in text


def test_a_factory_must_return_a_module(tmp_path):
    """A function without a return is told to return the module."""
    write(tmp_path, net="def make():\n    pass\n")
    assert "return model" in refused(ModelError, f"{tmp_path}/net.py:make")


def test_a_syntax_error_is_shown_at_its_line(tmp_path):
    """File, line and source of a syntax error are in the message."""
    write(tmp_path, net="import torch\nclass Net(\n  def forward\n")
    text = refused(ModelError, f"{tmp_path}/net.py:Net")
    assert "net.py:" in text
    assert "SyntaxError" in text


def test_an_error_at_import_is_shown_at_its_line(tmp_path):
    """The innermost line of the person's files is named, with its source, through a sibling."""
    write(tmp_path, net="import helper_x\n", helper_x="a = 1\nb = undefined_name\n")
    text = refused(ModelError, f"{tmp_path}/net.py:Net")
    assert "helper_x.py:2" in text
    assert "b = undefined_name" in text
    assert "NameError" in text
    assert "importlib" not in text


def test_a_missing_import_is_named_with_pip_install(tmp_path):
    """A package that is not installed is told with the command; the name differs where PyPI's does."""
    write(tmp_path, net="import no_such_package_q\n", other="def f():\n    import cv2_missing\nf()\n")
    assert "pip install no_such_package_q" in refused(ModelError, f"{tmp_path}/net.py:Net")


def test_a_script_that_exits_at_import_is_told_to_guard_it(tmp_path):
    """sys.exit at import ends nothing; the guard is in the cure."""
    write(tmp_path, net="import sys\nsys.exit(3)\n")
    assert "__main__" in refused(ModelError, f"{tmp_path}/net.py:Net")


def test_no_reference_says_to_pass_the_module_from_python():
    """A run without kept source is rebuilt from Python only, and says so."""
    with pytest.raises(ModelError, match="pass it from Python"):
        load_model(None)


def test_a_function_is_found_for_an_option(tmp_path):
    """A loss or schedule is named as a model is; errors name the option."""
    write(tmp_path, parts="def half(step):\n    return 0.5\n\nNUMBER = 3\n")
    assert load_function(f"{tmp_path}/parts.py:half", where="--schedule")(7) == 0.5
    with pytest.raises(UnknownNameError, match='--schedule.*\n.*Did you mean "half"'):
        load_function(f"{tmp_path}/parts.py:hald", where="--schedule")
    with pytest.raises(UsageError, match="--schedule"):
        load_function(f"{tmp_path}/parts.py:NUMBER", where="--schedule")


# ---- copies of the source


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["one_input", "nested/net", "buffers", "dataclass_output"])
def test_a_copy_builds_the_same_module(tmp_path, name):
    """What was copied is loaded from the run's folder, with the same state dict."""
    reference = f"{SHAPES}/{name}.py:Net"
    entry = copy_sources(reference, tmp_path / "model")
    torch.manual_seed(0)
    first = load_model(reference).state_dict()
    torch.manual_seed(0)
    second = load_model(entry, root=tmp_path / "model").state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_copy_holds_the_siblings_it_imports_and_no_others(tmp_path):
    """Siblings imported directly, through each other or inside functions are copied; others, and data, are not."""
    write(
        tmp_path / "src",
        net="import direct_s\n" + NET + "        import lazy_s\n",
        direct_s="from sub_s import deep\n",
        sub_s__deep="",
        lazy_s="",
        unrelated="",
    )
    (tmp_path / "src" / "weights.pt").write_bytes(b"0" * 100)
    assert copy_sources(f"{tmp_path}/src/net.py:Net", tmp_path / "model") == "net.py:Net"
    assert files_in(tmp_path / "model") == ["direct_s.py", "lazy_s.py", "net.py", "sub_s/deep.py"]


def test_a_copy_holds_the_whole_package(tmp_path):
    """Of a package with __init__.py, all Python files are copied, hidden folders apart."""
    write(tmp_path / "src", pack_w__net=NET, pack_w__other="", outside="")
    (tmp_path / "src/pack_w/__init__.py").write_text("")
    (tmp_path / "src/pack_w/.hidden").mkdir()
    (tmp_path / "src/pack_w/.hidden/x.py").write_text("")
    entry = copy_sources(f"{tmp_path}/src/pack_w/net.py:Net", tmp_path / "model")
    assert entry == "pack_w/net.py:Net"
    assert files_in(tmp_path / "model") == ["pack_w/__init__.py", "pack_w/net.py", "pack_w/other.py"]
    assert load_model(entry, root=tmp_path / "model").fc.out_features == 4


def test_sources_beyond_five_megabytes_are_not_copied(tmp_path):
    """A file of more than 5 MB is data in disguise: no entry, and nothing is written."""
    write(tmp_path / "src", net=NET + "#" * 5_100_000)
    assert copy_sources(f"{tmp_path}/src/net.py:Net", tmp_path / "model") is None
    assert not (tmp_path / "model").exists()


def test_the_class_of_an_instance_is_copied(tmp_path):
    """An instance whose class lives in a file gives the entry of that file."""
    model = load_model(f"{SHAPES}/nested/net.py:Net")
    assert copy_sources(model, tmp_path / "model") == "net.py:Net"
    assert shapes_of(load_model("net.py:Net", root=tmp_path / "model")) == shapes_of(model)


def test_a_sequential_and_a_local_class_have_no_entry(tmp_path):
    """Neither torch's own classes nor classes made inside a function can be rebuilt from source."""

    class Local(nn.Module):
        pass

    assert copy_sources(nn.Sequential(nn.Linear(1, 1)), tmp_path) is None
    assert copy_sources(Local(), tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_an_installed_class_is_referred_to_and_not_copied(tmp_path):
    """The source of an installed package stays where it is."""
    assert copy_sources("torch.nn:Linear", tmp_path) == "torch.nn:Linear"
    assert not list(tmp_path.iterdir())


SCRIPT = """
import math
import sys
from pathlib import Path

import torch.nn as nn
from helper_m import WIDTH

from netwright.models import copy_sources

SCALE = 3


def width():
    return WIDTH * SCALE


class Base(nn.Module):
    def forward(self, x):
        return self.fc(x) * math.pi


class Net(Base):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, width())


net = Net()
print(copy_sources(net, Path(sys.argv[1])))
Path(sys.argv[1], "ran").touch(exist_ok=False)
"""


def run_python(arguments: list[str], *, text: str | None = None, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        cwd=folder,
        env={"PYTHONPATH": str(Path(sys.modules["netwright"].__file__).parents[1]), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_class_of_the_running_script_is_copied_without_what_the_script_runs(tmp_path):
    """Only what the class needs is kept, so rebuilding does not run the training again."""
    write(tmp_path, train=SCRIPT, helper_m="WIDTH = 4\n")
    assert run_python(["train.py", str(tmp_path / "model")], folder=tmp_path) == "net.py:Net"
    text = (tmp_path / "model" / "net.py").read_text(encoding="utf-8")
    assert "copy_sources" not in text
    assert "SCALE = 3" in text
    assert load_model("net.py:Net", root=tmp_path / "model").fc.out_features == 12


def test_a_class_of_a_notebook_is_written_from_its_cells(tmp_path):
    """A class of a cell, found through the line cache that IPython fills, is rebuilt; without source is no entry."""
    cell = "class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.fc = nn.Linear(2, N)\n"
    program = f"""
import linecache, sys
from pathlib import Path
from torch import nn
from netwright.models import copy_sources
N = 5
cell = {cell!r}
exec(compile(cell, "<ipython-input-1-abc>", "exec"))
print(copy_sources(Net(), Path("model")))
linecache.cache["<ipython-input-1-abc>"] = (len(cell), None, cell.splitlines(True), "<ipython-input-1-abc>")
print(copy_sources(Net(), Path("model")))
"""
    assert run_python(["-"], text=program, folder=tmp_path).split() == ["None", "net.py:Net"]
    assert load_model("net.py:Net", root=tmp_path / "model").fc.out_features == 5


# ---- the description


def test_the_fingerprint_tells_shapes_and_not_values():
    """Two builds agree, another width differs, training changes nothing."""
    spec = [net_spec(nn.Sequential(nn.Linear(2, n)), None) for n in (3, 3, 4)]
    assert spec[0].fingerprint == spec[1].fingerprint != spec[2].fingerprint
    half = net_spec(nn.Sequential(nn.Linear(2, 3)).half(), None)
    assert half.fingerprint != spec[0].fingerprint
    assert (spec[0].class_name, spec[0].num_parameters, len(spec[0].fingerprint)) == ("Sequential", 9, 64)


def test_the_description_goes_to_json_and_back():
    """References are kept as given, arguments as written; tied weights count once; lazy ones not yet."""
    arguments = {"hidden": 12, "sizes": [64, 20]}
    reference = f"{SHAPES}/arguments.py:Net"
    spec = net_spec(load_model(reference, arguments), reference, arguments, "arguments.py:Net")
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    assert net_spec(load_model(f"{SHAPES}/tied_weights.py:Net"), None).num_parameters == 64 * 64 + 64 + 64 + 650
    assert net_spec(load_model(f"{SHAPES}/star_args.py:Net"), None).num_parameters == 0
