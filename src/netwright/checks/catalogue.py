"""All codes: title and usual severity. Pages with an explanation and two examples each are under docs/findings.

M the module, L the loss, D the data, O the optimizer, T the training loop, E the evaluation, P what is deployed,
H the history of a run.
"""

from __future__ import annotations

from typing import Any, Literal

from netwright.checks.sourcecode import Place
from netwright.records import Finding

Severity = Literal["error", "warning", "note"]

CODES: dict[str, tuple[str, Severity]] = {
    "M00": ("The module cannot be trained on these data", "error"),
    "M01": ("Softmax over the wrong axis of the output", "error"),
    "M02": ("Softmax over an axis of size 1", "error"),
    "M03": ("Attention weights do not sum to 1 over the keys", "error"),
    "M04": ("A reshape scrambles axes", "error"),
    "M05": ("Samples of a batch influence each other", "error"),
    "M06": ("A layer takes the batch for time", "error"),
    "M07": ("The place in the batch changes the answer, or no layer knows the place in the sequence", "error"),
    "M08": ("The future reaches the past", "error"),
    "M09": ("Padding changes the answer", "error"),
    "M10": ("Layers or parameters are not registered", "error"),
    "M11": ("Layers are made anew in each forward pass", "error"),
    "M12": ("One layer stands in several places", "warning"),
    "M13": ("Layers or parameters are not used", "warning"),
    "M14": ("The graph is cut: parameters that matter get no gradient", "error"),
    "M15": ("A custom backward is wrong", "error"),
    "M16": ("No non-linearity between linear layers", "warning"),
    "M17": ("The last activation cannot reach the targets", "error"),
    "M18": ("Dropout does not drop what it should", "warning"),
    "M19": ("Answers are random in eval mode", "error"),
    "M20": ("A method of Module is overridden by another", "error"),
    "M21": ("Batch normalisation cannot work here", "warning"),
    "M22": ("Initial weights keep the module from learning", "error"),
    "M23": ("Units are dead, saturated or all alike", "warning"),
    "M24": ("Gradients vanish or explode by depth", "warning"),
    "M25": ("An input has no effect", "warning"),
    "M26": ("A tensor that others need is changed in place", "error"),
    "M27": ("Numbers can become NaN or infinite", "warning"),
    "M28": ("A state is kept from batch to batch", "error"),
    "M29": ("It cannot learn even one batch", "note"),
    "L01": ("Softmax before a loss that applies it", "error"),
    "L02": ("log_softmax before a loss that applies it: redundant", "note"),
    "L03": ("Sigmoid before a loss that applies it", "error"),
    "L04": ("The loss gets something other than it takes", "error"),
    "L05": ("Outputs, loss and task do not belong together", "error"),
    "L06": ("Outputs and targets broadcast against each other", "error"),
    "L07": ("Labels and classes do not match", "error"),
    "L08": ("Padding counts in the loss", "warning"),
    "L09": ("The loss grows with the batch", "warning"),
    "L10": ("A loss of distances on classes", "warning"),
    "L11": ("Training climbs the loss", "error"),
    "L12": ("Targets are not the next tokens", "error"),
    "L13": ("Class weights work against rare classes", "warning"),
    "L14": ("Targets are far from scale 1", "warning"),
    "D01": ("Inputs are not normalised", "warning"),
    "D02": ("Inputs are normalised twice, or drift", "warning"),
    "D03": ("Training and test are preprocessed differently", "error"),
    "D04": ("Inputs and targets are misaligned", "warning"),
    "D05": ("Training order is not shuffled", "warning"),
    "D06": ("Samples of the test are in training", "error"),
    "D07": ("Preprocessing was fitted on test samples too", "warning"),
    "D08": ("Splits share their samples", "error"),
    "D09": ("Evaluation samples are augmented", "warning"),
    "D10": ("Accuracy hides an imbalance", "warning"),
    "D11": ("Workers draw the same random numbers", "error"),
    "D12": ("Classes are numbered differently in the splits", "error"),
    "D13": ("NaN, infinity or a sentinel in the data", "error"),
    "D14": ("A column is useless, or gives the target away", "warning"),
    "D15": ("Pixels are laid out wrongly", "error"),
    "D16": ("The same input has different labels", "warning"),
    "D17": ("Classes are missing from a split", "warning"),
    "D18": ("Sound is silent or clipped", "warning"),
    "D19": ("Sequences are cut, or tokens unknown", "warning"),
    "D20": ("Labels that are probably wrong", "note"),
    "O01": ("The learning rate is far too high", "warning"),
    "O02": ("The learning rate is far too low", "warning"),
    "O03": ("Parameters are missing from the optimizer", "error"),
    "O04": ("The optimizer holds other tensors", "error"),
    "O05": ("Parameters are frozen by accident", "error"),
    "O06": ("An exhausted iterator was handed over", "error"),
    "O07": ("Regularisation outweighs the loss", "warning"),
    "O08": ("A constant of the optimizer is odd", "note"),
    "O09": ("Another optimizer learns far faster", "note"),
    "O10": ("Weight decay on biases and norms", "note"),
    "T01": ("Gradients are never cleared", "error"),
    "T02": ("Gradients are erased before they are used", "error"),
    "T03": ("Accumulated gradients are not scaled", "warning"),
    "T04": ("Clipping has no effect", "error"),
    "T05": ("Parameters never change", "error"),
    "T06": ("The schedule does not fit the run", "warning"),
    "T07": ("Training goes on in eval mode", "error"),
    "T08": ("Gradients of another loss leak in", "error"),
    "T09": ("A frozen part still changes", "warning"),
    "T10": ("The graph is kept alive", "warning"),
    "T11": ("Mixed precision steps are out of order", "warning"),
    "T12": ("Too little training", "note"),
    "T13": ("Each epoch repeats the same random numbers", "warning"),
    "E01": ("Evaluation runs in train mode", "error"),
    "E02": ("The metric is computed wrongly", "error"),
    "E03": ("The score is a mean of unequal means", "warning"),
    "E04": ("The model is chosen on the test set", "warning"),
    "E05": ("The best weights are not a copy", "error"),
    "E06": ("The metric is taken of the wrong values", "warning"),
    "E07": ("Truth reaches the model in evaluation", "error"),
    "E08": ("Evaluation builds graphs", "note"),
    "P01": ("Weights are not loaded", "error"),
    "P02": ("Exported in train mode, or for one shape", "error"),
    "P03": ("State is not saved", "error"),
    "P04": ("Serving preprocesses differently", "error"),
    "H01": ("Training diverged", "error"),
    "H02": ("Nothing was learned", "warning"),
    "H03": ("Overfitting", "warning"),
    "H04": ("The curve is noise", "note"),
}
GRAVE: tuple[Severity, ...] = ("error", "warning", "note")

# A cause and what follows from it: where the cause is found, its followers are not told apart.
FOLLOWERS: dict[str, tuple[str, ...]] = {
    "M00": (),
    "M01": ("L01", "L02", "L04", "M05", "M17", "O01", "O02", "M24", "E06", "L09"),
    "M02": ("M13", "M14", "M25", "L01", "L05", "M17", "O01", "O02", "M23", "M24", "O09", "M29"),
    "M03": ("M05", "M08", "M09", "O02"),
    "M04": ("M05", "M07", "M08", "M09"),
    "M05": ("M07", "M08", "M09", "O02", "L09"),
    "M06": ("M05", "M07", "M08", "M09"),
    "M10": ("M13", "M14", "O03", "P03", "O02", "T05"),
    "M11": ("M13", "M14", "M19", "M29", "E01", "M10", "M07", "M05", "M08", "M09", "E07"),
    "M14": ("M13", "O02", "M24", "T05", "T10"),
    "M15": ("M14", "M24", "O01", "O02", "M29"),
    "M17": ("O01", "O02", "M23", "M24", "O09"),
    "M19": ("M05", "M07", "M08", "M09", "M28"),
    "M20": ("E01", "T07", "M19"),
    "M22": ("M23", "M24", "O01", "O02", "M13", "O09", "M29"),
    "M21": ("M29",),
    "M23": ("M24", "O09", "M29"),
    "M24": ("O01", "O02", "O09", "M29"),
    "M26": ("M19", "M28", "D02", "D03", "P04", "L09", "M05", "M07"),
    "M27": ("O01", "M23", "M24"),
    "M28": ("M05", "M07", "M19", "T10"),
    "L01": ("M17", "L04", "L05", "M24", "O01", "O02", "O09"),
    "L03": ("M17", "L04", "L05", "M24", "O01", "O02", "O09"),
    "L04": ("M17", "L05", "L11", "O01", "O02", "O09", "L10"),
    "L05": ("M17", "L07", "L10", "M13", "O01", "O02", "O09", "E02", "D10", "L01"),
    "L06": ("M05", "L09", "O01", "O02", "O09", "E02", "E06", "L05", "M29"),
    "L07": ("O01", "O02", "M17", "L10"),
    "L09": ("O01", "M23", "M24"),
    "L10": ("L14", "M17", "O01", "O02", "O09", "L05"),
    "L11": ("O01", "O02", "O08", "O09", "M23", "M24", "H01", "M29"),
    "L12": ("M08",),
    "L14": ("O01", "O02", "O09", "M23", "M24", "L05"),
    "D01": ("O01", "O02", "O09", "M22", "M23", "M24"),
    "D02": ("O02", "O09", "M23", "M24"),
    "D03": ("P04", "D12"),
    "D04": ("D16", "D20", "O02"),
    "D05": ("D17", "M23"),
    "D06": ("D106",),
    "D07": ("D06", "D106"),
    "D08": ("D06", "E04"),
    "D10": ("D104",),
    "D13": ("M27", "O01", "D01"),
    "D14": (),
    "D15": ("M04", "D03"),
    "D16": ("D20",),
    "D17": ("D103",),
    "D19": ("D108",),
    "O01": ("M24", "O09", "H01", "M29"),
    "O02": ("O09", "T12", "H02"),
    "O03": ("M13",),
    "O04": ("O03", "T05"),
    "O05": ("T05", "M13", "M14", "O03"),
    "O06": ("T05", "O03", "T04"),
    "O07": ("O02", "O09"),
    "O08": ("O01", "O02", "O09"),
    "T01": ("T08", "T03", "O01", "M23"),
    "T02": ("T05", "T03", "T01"),
    "T03": ("M23",),
    "T04": ("M23",),
    "T11": ("M23",),
    "T07": ("E01",),
    "T08": ("T01",),
    "E01": ("M21",),
    "E05": (),
}


def finding(
    code: str,
    *,
    evidence: str,
    cure: str,
    place: Place | None = None,
    layer: str | None = None,
    where: str | None = None,
    severity: Severity | None = None,
    title: str | None = None,
) -> Finding:
    """A finding of a code.

    Args:
        evidence: What was done and what came of it, in numbers.
        cure: At most two lines of code or a sentence.
        place: Line of the person's source.
        layer: Name of the submodule.
        where: Words in place of ``layer`` and ``place``.
        severity: None: the code's usual one.
        title: None: the code's.
    """
    from netwright.traces import show_path

    usual_title, usual = CODES[code]
    parts = [f"`{layer}`" if layer else "", str(place) if place is not None else ""]
    return Finding(
        code=code,
        severity=severity or usual,
        title=title or usual_title,
        where=where or ", ".join(part for part in parts if part) or "the module",
        evidence=evidence,
        cure=cure,
        layer=layer,
        file=None if place is None else show_path(place.file),
        line=None if place is None else place.line,
    )


def fold(findings: list[Finding]) -> list[Finding]:
    """One finding a cause: what follows from a graver or equal one is left out, and so are repetitions.

    A note hides nothing; of two that each follow from the other the graver stays, else the one that FOLLOWERS names
    first.
    """
    gravest = {
        one.code: GRAVE.index(one.severity) for one in sorted(findings, key=lambda one: -GRAVE.index(one.severity))
    }
    rank = {code: at for at, code in enumerate(FOLLOWERS)}
    hidden: set[str] = set()
    for code in sorted(gravest, key=lambda code: (gravest[code], rank.get(code, len(rank)))):
        if code not in hidden and gravest[code] < GRAVE.index("note"):
            hidden |= {one for one in FOLLOWERS.get(code, ()) if gravest.get(one, -1) >= gravest[code]}
    kept: dict[tuple[Any, ...], Finding] = {}
    for one in findings:
        if one.code not in hidden:
            kept.setdefault((one.code, one.severity, one.where), one)
    return list(kept.values())


def in_order(findings: list[Finding]) -> list[Finding]:
    """What to mend first ahead: the gravest, and of those what others build upon (data, module, loss, rest)."""
    first = "DMLOTEPH"
    return sorted(findings, key=lambda one: (GRAVE.index(one.severity), first.index(one.code[0]), one.code))
