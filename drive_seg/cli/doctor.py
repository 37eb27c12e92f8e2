"""Say what this machine can run, and the fix for what it can't.

Exit code 0 when the node can run here (a network, an engine, ROS), else 1.
"""

from __future__ import annotations

import argparse
import json

from drive_seg import __version__
from drive_seg.doctor.finding import Finding, Level

_MARKS = {Level.OK: "ok  ", Level.NOTE: "-   ", Level.WARNING: "warn", Level.ERROR: "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 when the node can run, else 1."""
    from drive_seg.doctor.checks import can_run, run_checks

    findings = run_checks()
    works = can_run(findings)
    if args.json:
        print(json.dumps({"version": __version__, "can_run": works, "findings": {
            group: [finding.as_dict() for finding in found] for group, found in findings.items()}}, indent=2))
    else:
        _print(findings)
        print("\nthe node can run here" if works else "\nthe node can NOT run here: see FAIL above")
    return 0 if works else 1


def _print(findings: dict[str, list[Finding]]) -> None:
    width = max(len(finding.name) for found in findings.values() for finding in found)
    for group, found in findings.items():
        print(group)
        for finding in found:
            print(f"  {_MARKS[finding.level]} {finding.name:{width}}  {finding.text}")
            if finding.fix:
                print(f"       {'':{width}}  -> {finding.fix}")
