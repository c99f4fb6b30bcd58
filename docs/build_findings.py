"""Build the pages of docs/findings from the codes, docs/findings/texts.yaml and the programs of tests/faults.

python docs/build_findings.py            # write them
python docs/build_findings.py --check    # exit 1 and name what is out of date
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
import textwrap
from pathlib import Path

import yaml

import netwright
from netwright.checks.catalogue import CODES, FOLLOWERS
from netwright.checks.every import CHECKS

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "findings"
PROGRAMS = ROOT / "tests" / "faults" / "programs"
PACKAGE = Path(netwright.__file__).parent
KEYS = ("what", "proof", "silent", "cure", "source")
FAMILIES = ("Module", "Loss", "Data", "Optimizer", "Training loop", "Evaluation", "Deployment", "History of a run")
CODE = re.compile(r'"([MLDOTEPH]\d\d)"')  # as it stands in the source of a rule
INTRODUCTION = (
    "A finding has a code that stays the same between releases. Each page says what is wrong, by which experiment it "
    "is found, how to mend it, and what looks alike and is left alone; where it can be shown, with a program that has "
    "the fault and the change that heals it, which the tests run. D101 to D108 are told by "
    "`netwright data` and have no pages. Written by `python docs/build_findings.py`."
)


def texts() -> dict[str, dict[str, str]]:
    """Texts by code, as they stand in texts.yaml."""
    loaded: dict[str, dict[str, str]] = yaml.safe_load((PAGES / "texts.yaml").read_text(encoding="utf-8"))
    return loaded


def finders() -> dict[str, str]:
    """By code, the commands that find it, as words: check runs the checks, watch runs them and its own rules."""
    files = {
        "check": [PACKAGE / "checks" / name for name in ("history.py", "refused.py")],
        "watch": [*(PACKAGE / "watch" / "rules").glob("*.py")],
    }
    found = {name: {code for one in CHECKS for code in one.codes} for name in files}
    for name, sources in files.items():
        found[name] |= {code for file in sources for code in CODE.findall(file.read_text(encoding="utf-8"))}
    return {
        code: " and ".join(f"`netwright {name}`" for name in found if code in found[name]) or "no command yet"
        for code in CODES
    }


def built() -> dict[str, str]:
    """What each file of docs/findings should hold, by its name."""
    written, found = texts(), finders()
    pages = {f"{code}.md": page(code, written[code], found[code]) for code in CODES if code in written}
    return {"README.md": index(found), **pages}


def page(code: str, written: dict[str, str], found: str) -> str:
    """The page of a code."""
    parts = [f"# {code}: {CODES[code][0]}", f"Severity: {CODES[code][1]}. Found by {found}."]
    parts += ["## What is wrong", fill(written["what"]), "## How it is found", fill(written["proof"])]
    parts += ["## Cure", fill(written["cure"]), *examples(PROGRAMS / code)]
    parts += ["## Not told", fill(written["silent"]), *looking_alike(PROGRAMS / code / "lookalike.py")]
    if FOLLOWERS.get(code):
        listed = ", ".join(f"[{one}]({one}.md)" if one in CODES else one for one in sorted(FOLLOWERS[code]))
        parts.append(fill(f"What may follow from it is not told beside it: {listed}."))
    silenced = (
        f"Put `# netwright: ignore[{code}]` at the end of the line that is named, or alone on the line above it; "
    )
    parts += ["## Silencing", fill(f"{silenced}or leave it out of a whole run with `--skip {code}`.")]
    return "\n\n".join([*parts, "## Source", fill(written["source"].removesuffix(".") + ".")]) + "\n"


def examples(folder: Path) -> list[str]:
    """The sick program, and what heals it; nothing where there is none."""
    files = [folder / "sick.py", folder / "healthy.py"]
    if not all(file.is_file() for file in files):
        return []
    sick, healthy = (file.read_text(encoding="utf-8").splitlines() for file in files)
    diff = difflib.unified_diff(sick, healthy, *(file.name for file in files), lineterm="")
    return ["## Sick", "\n".join(["```python", *sick, "```"]), "## Healed", "\n".join(["```diff", *diff, "```"])]


def looking_alike(file: Path) -> list[str]:
    """What the sound program that looks like the fault says of itself; nothing where there is none."""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) if file.is_file() else None
    link = f"[An example](../../{file.relative_to(ROOT).as_posix()}): "
    return [fill(link + " ".join(said.split()))] if said else []


def index(found: dict[str, str]) -> str:
    """The list of all codes, family by family."""
    parts = ["# Findings", fill(INTRODUCTION)]
    for letter, family in zip("MLDOTEPH", FAMILIES, strict=True):
        rows = ["| code | finding | severity | found by |", "|---|---|---|---|"]
        for code in sorted(code for code in CODES if code[0] == letter):
            rows.append(f"| [{code}]({code}.md) | {CODES[code][0]} | {CODES[code][1]} | {found[code]} |")
        parts += [f"## {family}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def fill(text: str) -> str:
    """A paragraph in lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def out_of_date() -> list[str]:
    """What is wrong with the texts and the pages, a line each; empty where all is as it should be."""
    written, wanted = texts(), built()
    said = [f"texts.yaml: no texts for {code}" for code in CODES if code not in written]
    said += [f"texts.yaml: {code} is no code" for code in written if code not in CODES]
    said += [f"texts.yaml: {code} must have {', '.join(KEYS)}" for code in written if tuple(written[code]) != KEYS]
    for name, text in wanted.items():
        file = PAGES / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            said.append(f"{name}: not as built" if file.is_file() else f"{name}: missing")
    return said + [f"{file.name}: no longer a page" for file in sorted(PAGES.glob("*.md")) if file.name not in wanted]


def main(arguments: list[str]) -> None:
    """Write the pages, or with --check only compare them."""
    if arguments not in ([], ["--check"]):
        raise SystemExit("python docs/build_findings.py [--check]")
    if not arguments:
        for name, text in built().items():
            (PAGES / name).write_text(text, encoding="utf-8")
    if said := out_of_date():
        raise SystemExit("\n".join([*said, "Mend docs/findings/texts.yaml, then: python docs/build_findings.py"]))


if __name__ == "__main__":
    main(sys.argv[1:])
