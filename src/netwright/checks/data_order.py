"""What a script fits on rows that it splits only afterwards, read from its syntax tree along the names of variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from netwright.checks.sourcecode import Place, Sources

SCALING = ("Scaler", "Normalizer", "PowerTransformer", "QuantileTransformer", "Imputer", "Encoder", "Discretizer")
PROJECTION = ("PCA", "TruncatedSVD", "NMF", "FastICA", "KernelPCA", "FactorAnalysis", "Vectorizer")
SELECTION = (
    "SelectKBest", "SelectPercentile", "SelectFromModel", "SelectFpr", "SelectFdr", "SelectFwe", "RFE", "RFECV",
    "SequentialFeatureSelector", "GenericUnivariateSelect", "LinearDiscriminantAnalysis", "PLSRegression",
    "TargetEncoder",
)  # fmt: skip
SAMPLING = (
    "SMOTE", "SMOTENC", "SMOTEN", "ADASYN", "BorderlineSMOTE", "SVMSMOTE", "KMeansSMOTE", "RandomOverSampler",
    "SMOTEENN", "SMOTETomek",
)  # fmt: skip
SPLITS = ("train_test_split",)


@dataclass(frozen=True, slots=True)
class Fitted:
    """One thing that was fitted on all rows.

    Attributes:
        what: Its class.
        kind: scaling, projection, selection or sampling.
        name: The variable that is split later.
    """

    what: str
    kind: str
    name: str
    place: Place
    split_line: int


def fits_before_split(sources: Sources) -> Iterator[Fitted]:
    """All of them, in all functions."""
    for file, tree in sources.trees():
        for scope in ast.walk(tree):
            if isinstance(scope, (ast.Module, ast.FunctionDef)):
                yield from _in_scope(file, scope)


def _in_scope(file: str, scope: ast.Module | ast.FunctionDef) -> Iterator[Fitted]:
    """Follow names from statement to statement: what a fitted thing gave, and what was made of that."""
    made: dict[str, str] = {}  # variable: class of the transformer in it
    fits: dict[str, tuple[str, int]] = {}  # variable: class that was fitted on all its rows, and the line
    for statement in _statements(scope.body):
        call = next((node for node in ast.walk(statement) if _is_split(node)), None)
        if isinstance(call, ast.Call):
            for name in [one.id for one in call.args if isinstance(one, ast.Name)]:
                if name in fits:
                    fitted, line = fits.pop(name)
                    yield Fitted(fitted, _kind(fitted) or "scaling", name, Place(file, line), call.lineno)
            continue
        if not isinstance(statement, ast.Assign):
            _note_fit(statement, made)
            continue
        _note_value(statement, made, fits)
        _note_fit(statement, made)


def _note_value(statement: ast.Assign, made: dict[str, str], fits: dict[str, tuple[str, int]]) -> None:
    """``X = scaler.fit_transform(X)``, ``pca = PCA(3)``, ``X = torch.tensor(X)``: what variables hold from here on."""
    targets = [one.id for target in statement.targets for one in ast.walk(target) if isinstance(one, ast.Name)]
    what, built = _fitting(statement.value, made), _built(statement.value)
    reached = [one.id for one in ast.walk(statement.value) if isinstance(one, ast.Name) and one.id in fits]
    came = fits[reached[0]] if reached and not _subset(statement.value) else None
    for name in targets:
        if not reached:
            fits.pop(name, None)
        if built:
            made[name] = built
            if _fitted_at_once(statement.value):
                made["fitted " + name] = built
        if what:
            fits[name] = what, statement.lineno
        elif came is not None:
            fits[name] = came


def _fitted_at_once(node: ast.expr) -> bool:
    """Whether it is ``PCA(3).fit(X)``, of rows that are not called training."""
    fit = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fit"
    if not fit or not isinstance(node, ast.Call) or not node.args:
        return False
    return "train" not in _word(node.args[0]).lower() and not isinstance(node.args[0], ast.Subscript)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """In order, into blocks but not into functions and classes."""
    for one in body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        inner = [getattr(one, name, []) for name in ("body", "orelse", "finalbody")]
        if any(inner):
            for block in inner:
                yield from _statements(block)
        else:
            yield one


def _is_split(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _word(node.func) in SPLITS


def _word(node: ast.AST) -> str:
    return getattr(node, "id", getattr(node, "attr", "")) or ""


def _kind(word: str) -> str | None:
    if word in SAMPLING:
        return "sampling"
    if word in SELECTION:
        return "selection"
    if word in PROJECTION or word.endswith(PROJECTION):
        return "projection"
    return "scaling" if word.endswith(SCALING) else None


def _built(node: ast.expr) -> str | None:
    """The class of a transformer that an expression makes, also where it is fitted at once."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and _kind(_word(one.func)) is not None:
            return _word(one.func)
    return None


def _fitting(node: ast.expr, made: dict[str, str]) -> str | None:
    """The class whose ``fit_transform`` or ``fit_resample`` an expression calls."""
    for one in ast.walk(node):
        if not isinstance(one, ast.Call) or not isinstance(one.func, ast.Attribute):
            continue
        if one.func.attr in ("fit_transform", "fit_resample"):
            owner = one.func.value
            return made.get(_word(owner)) if isinstance(owner, (ast.Name, ast.Attribute)) else _built(owner)
        if one.func.attr == "transform":
            owner = one.func.value
            if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute) and owner.func.attr == "fit":
                return _built(owner) or made.get(_word(owner.func.value))
            if made.get("fitted " + _word(owner)):
                return made["fitted " + _word(owner)]
    return None


def _note_fit(statement: ast.stmt, made: dict[str, str]) -> None:
    """``scaler.fit(X)``: what ``scaler.transform`` gives later is fitted on the rows of X, unless X is a part."""
    for one in ast.walk(statement):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == "fit" and one.args:
            owner, given = _word(one.func.value), _word(one.args[0])
            what = made.get(owner)
            if what is not None and "train" not in given.lower() and not isinstance(one.args[0], ast.Subscript):
                made["fitted " + owner] = what


def _subset(node: ast.expr) -> bool:
    """Whether an expression takes some rows, so that names no longer stand for all of them."""
    return any(isinstance(one, ast.Slice) for one in ast.walk(node))
