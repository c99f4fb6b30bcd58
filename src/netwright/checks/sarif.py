"""Findings as SARIF 2.1.0, which editors and code hosts show beside the source.

Source: OASIS, Static Analysis Results Interchange Format version 2.1.0, sections 3.13, 3.27 and 3.49.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from netwright.checks.catalogue import CODES
from netwright.records import CheckReport, Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "note": "note"}


def sarif(report: CheckReport, *, version: str) -> dict[str, Any]:
    """The report as one SARIF log, plain values for JSON.

    Args:
        version: Of netwright.
    """
    used = sorted({finding.code for finding in report.findings})
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "netwright",
                        "version": version,
                        "rules": [_rule(code, report) for code in used],
                    }
                },
                "results": [_result(finding, used) for finding in report.findings],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {"level": "note", "message": {"text": f"not checked: {sentence}"}}
                            for sentence in report.not_checked
                        ],
                    }
                ],
            }
        ],
    }


def _rule(code: str, report: CheckReport) -> dict[str, Any]:
    title, severity = CODES.get(code, (next(one.title for one in report.findings if one.code == code), "warning"))
    return {
        "id": code,
        "shortDescription": {"text": title},
        "defaultConfiguration": {"level": LEVELS[severity]},
    }


def _result(finding: Finding, used: list[str]) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if finding.file is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(finding.file)},
            "region": {"startLine": max(1, finding.line or 1)},
        }
    if finding.layer is not None or finding.file is None:
        name = finding.layer or finding.where
        location["logicalLocations"] = [{"fullyQualifiedName": name}]
    return {
        "ruleId": finding.code,
        "ruleIndex": used.index(finding.code),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.title}. {finding.evidence} {finding.cure}"},
        "locations": [location],
    }


def _uri(file: str) -> str:
    """A relative reference, or a file URI where the path is absolute; percent-encoded as RFC 3986 wants."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
