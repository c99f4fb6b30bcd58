"""The tables of bench/faults.py: from what tools said of programs to recall, precision and false alarms."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rivals import Outcome

FAMILIES = {
    "M": "the module", "L": "the loss", "D": "the data", "O": "the optimizer", "T": "the training loop",
    "E": "the evaluation", "P": "what is deployed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Program:
    """A file of tests/faults.

    Attributes:
        kind: sick, healthy, lookalike or zoo.
        code: The fault that it has or that its twin has; empty in the zoo.
    """

    file: Path
    kind: str
    code: str

    @property
    def key(self) -> str:
        """Folder and stem, as M01/sick2."""
        return f"{self.file.parent.name}/{self.file.stem}"


Answers = Mapping[Path, Outcome]


def hit(tool: str, program: Program, answers: Answers) -> bool:
    """Whether the tool names the fault of a sick program, in whatever severity."""
    return program.file in answers and program.code in answers[program.file].codes(tool)


def alarmed(program: Program, answers: Answers, severities: tuple[str, ...] = ("error", "warning")) -> bool:
    """Whether the tool accuses the program."""
    return program.file in answers and answers[program.file].accuses(severities)


def both(first: Answers, second: Answers) -> dict[Path, Outcome]:
    """What either route says, with the time of both."""
    joined = dict(first)
    for file, other in second.items():
        one = joined.get(file)
        if one is not None:
            note = one.note and other.note  # run where either was
            other = Outcome(file, one.found + other.found, one.seconds + other.seconds, note)
        joined[file] = other
    return joined


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % ({part} of {whole})" if whole else "-"


def _median(seconds: Iterable[float], digits: int = 2) -> str:
    values = list(seconds)
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def tool_table(
    tools: Mapping[str, Answers], broken: Mapping[str, str], programs: Sequence[Program], starred: frozenset[str]
) -> Iterator[str]:
    """One line a tool; a program that a tool cannot run on counts as not found."""
    yield "| tool | ★ faults | all faults | sick programs | precision | healthy | lookalike | zoo | s | not run |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    sick = [program for program in programs if program.kind == "sick"]
    first = [program for program in sick if program.file.stem == "sick"]
    stars = [program for program in first if program.code in starred]
    for tool, answers in tools.items():
        if tool in broken:
            yield f"| {tool} | not run: {broken[tool]} |" + " |" * 8
            continue
        recalls = [_share(sum(hit(tool, one, answers) for one in lot), len(lot)) for lot in (stars, first, sick)]
        true = sum(hit(tool, one, answers) for one in sick)
        false = sum(alarmed(one, answers) for one in programs if one.kind != "sick")
        alarms = []
        for kind in ("healthy", "lookalike", "zoo"):
            lot = [one for one in programs if one.kind == kind]
            errors = sum(alarmed(one, answers, ("error",)) for one in lot)
            count = sum(alarmed(one, answers) for one in lot)
            alarms.append(f"{count} of {len(lot)} ({errors} errors)" if lot else "-")
        ran = [answer for answer in answers.values() if not answer.note]
        times = _median(answer.seconds for answer in ran)
        cells = [tool, *recalls, _share(true, true + false), *alarms, times, str(len(programs) - len(ran))]
        yield f"| {' | '.join(cells)} |"


def family_table(routes: Mapping[str, Answers], programs: Sequence[Program]) -> Iterator[str]:
    """One line a family: faults found by each route in sick.py, and all variants and alarms of both."""
    yield f"| family | faults | {' | '.join(routes)} | sick programs | false alarms | s |"
    yield f"|---|---|{'---|' * len(routes)}---|---|---|"
    everything = both(*routes.values())
    for letter, name in FAMILIES.items():
        lot = [program for program in programs if program.code.startswith(letter)]
        if not lot:
            continue
        sick = [program for program in lot if program.kind == "sick"]
        first = [program for program in sick if program.file.stem == "sick"]
        found = [str(sum(hit("netwright", one, answers) for one in first)) for answers in routes.values()]
        variants = f"{sum(hit('netwright', one, everything) for one in sick)} of {len(sick)}"
        alarms = sum(alarmed(one, everything) for one in lot if one.kind != "sick")
        times = _median(everything[one.file].seconds for one in lot if one.file in everything)
        cells = [f"{letter}, {name}", str(len(first)), *found, variants, str(alarms), times]
        yield f"| {' | '.join(cells)} |"


def code_table(routes: Mapping[str, Answers], programs: Sequence[Program], starred: frozenset[str]) -> Iterator[str]:
    """One line a code: sick programs found by each route, false alarms on its twins by both, seconds."""
    yield f"| code | {' | '.join(routes)} | false alarms | s |"
    yield f"|---|{'---|' * len(routes)}---|---|"
    everything = both(*routes.values())
    for code in sorted({program.code for program in programs if program.code}, key=_catalogue):
        lot = [program for program in programs if program.code == code]
        found = []
        for answers in routes.values():
            sick = [one for one in lot if one.kind == "sick" and one.file in answers]
            found.append(f"{sum(hit('netwright', one, answers) for one in sick)} of {len(sick)}" if sick else "-")
        twins = [one for one in lot if one.kind != "sick"]
        alarms = f"{sum(alarmed(one, everything) for one in twins)} of {len(twins)}"
        times = _median(everything[one.file].seconds for one in lot if one.file in everything)
        yield f"| {code}{' ★' if code in starred else ''} | {' | '.join(found)} | {alarms} | {times} |"


def _catalogue(code: str) -> tuple[int, str]:
    return list(FAMILIES).index(code[0]), code


def rest(name: str, answers: Answers, programs: Sequence[Program]) -> Iterator[str]:
    """What was missed, what was accused, and what could not be run, program by program."""
    known = [one for one in programs if one.file in answers]
    missed = [one.key for one in known if one.kind == "sick" and not hit("netwright", one, answers)]
    accused = [
        f"{one.key} ({', '.join(sorted({rule for rule, severity in answers[one.file].found if severity != 'note'}))})"
        for one in known
        if one.kind != "sick" and alarmed(one, answers)
    ]
    failed = [f"{one.key}: {answers[one.file].note}" for one in known if answers[one.file].note]
    yield f"- {name}, missed: {', '.join(missed) or 'none'}"
    yield f"- {name}, accused though healthy: {', '.join(accused) or 'none'}"
    if failed:
        yield f"- {name}, not run: {'; '.join(failed)}"
