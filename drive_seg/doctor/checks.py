"""The list of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drive_seg.doctor import engines, machine, network, optional, ros, transport
from drive_seg.doctor.finding import Finding, Level

CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "machine": machine.check,
    "network": network.check,
    "engines": engines.check,
    "ros": ros.check,
    "transport": transport.check,
    "optional": optional.check,
}
"""Group of the report -> its check. A check yields findings and raises nothing."""


def run_checks() -> dict[str, list[Finding]]:
    """Every finding by group, in the order of the list."""
    return {group: list(check()) for group, check in CHECKS.items()}


def can_run(findings: dict[str, list[Finding]]) -> bool:
    """Whether the node can run here."""
    return not any(finding.level is Level.ERROR for group in findings.values() for finding in group)
