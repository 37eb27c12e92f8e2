"""The frames that may be picked: what is known of each, in bounded memory however long the drives are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 20_000
"""Candidates that are kept of one pick. A descriptor has about 1 kB."""


@dataclass
class Candidate:
    """A frame. drive: number of the input. name: of its shot. doubt: 1 - mean confidence. unknown: share of the pixels.
    flicker: share of the pixels whose label came or went for this frame alone, 0 where it has no neighbours. timed:
    whether stamp_ns is a camera's or a video's, not made up."""

    drive: int
    name: str
    stamp_ns: int
    timed: bool
    doubt: float
    unknown: float
    flicker: float
    descriptor: np.ndarray

    @property
    def trouble(self) -> float:
        """How little it is trusted, to choose between neighbours."""
        return self.doubt + self.unknown + self.flicker


class Pool:
    """Keeps at most MOST candidates: when it is full, of each two that follow each other the more troubled stays."""

    def __init__(self, most: int = MOST) -> None:
        if most < 2:
            raise ValueError(f"a pool keeps two candidates or more, not {most}")
        self._most = most
        self.candidates: list[Candidate] = []
        self.seen = 0

    def add(self, candidate: Candidate) -> None:
        """The next frame of a drive."""
        self.seen += 1
        self.candidates.append(candidate)
        if len(self.candidates) >= self._most:
            pairs = zip(self.candidates[::2], [*self.candidates[1::2], None], strict=False)
            self.candidates = [a if b is None or (a.drive == b.drive and a.trouble >= b.trouble) else b
                               for a, b in pairs]
