"""The moments of a drive that deserve a look."""

from __future__ import annotations

import numpy as np

from drive_seg.replay.frames import Columns

MOMENTS = 10
_APART_S = 1.0  # of one event, the worst frame is enough
_WINDOW = 15  # frames before, whose median is what was normal a moment ago


def suspicious(columns: Columns, moments: int = MOMENTS) -> list[dict]:
    """The most suspicious frames, worst first, at least a second apart: {row, index, stamp_ns, score, why}.

    Each reason scores 1 where it deserves a look, from what it was during the 15 frames before:
        no result              score 10
        camera not believed    score 10, at the first of the frames
        sudden loss of road    drivable share fell by half of what it was (and of at least 2 % of the picture)
        low confidence         mean confidence fell by 0.1
        flicker                1 % of the picture came or went for a single frame
        jump                   10 % more of the picture than usual changed its label
        unknown                5 % more of the picture than usual is unknown
    """
    drivable, confidence, changed, unknown = (columns.get(n) for n in ("drivable", "confidence", "changed", "unknown"))
    usual = {name: _usual(columns.get(name)) for name in ("drivable", "confidence", "changed", "unknown")}
    before = np.maximum(usual["drivable"], 0.02)
    scores = {
        "sudden loss of road": (usual["drivable"] - drivable) / before / 0.5,
        "low confidence": (usual["confidence"] - confidence) / 0.1,
        "flicker": columns.get("flicker") / 0.01,
        "jump": (changed - usual["changed"]) / 0.1,
        "unknown": (unknown - usual["unknown"]) / 0.05,
    }
    names = list(scores)
    table = np.nan_to_num(np.stack([scores[n] for n in names]), nan=0.0) if len(columns) else np.zeros((len(names), 0))
    score, reason = table.max(0), table.argmax(0)
    reasons = columns.problems | {row: f"the camera is not believed: {why}" for row, why in columns.withheld.items()
                               if row - 1 not in columns.withheld}
    for row in reasons:
        score[row] = 10.0
    seconds = columns.seconds
    found: list[dict] = []
    for row in np.argsort(-score, kind="stable"):
        if len(found) == moments or score[row] <= 0:
            break
        if any(abs(seconds[row] - seconds[other["row"]]) < _APART_S for other in found):
            continue
        why = reasons.get(int(row)) or _say(names[reason[row]], int(row), columns, usual)
        found.append({"row": int(row), "index": int(columns.index[row]), "stamp_ns": int(columns.stamp_ns[row]),
                      "score": round(float(score[row]), 2), "why": why})
    return found


def _usual(values: np.ndarray) -> np.ndarray:
    """Median of the frames before each frame; NaN for the first, and where there is none."""
    out = np.full(len(values), np.nan, np.float32)
    if not len(values):
        return out
    padded = np.concatenate([np.full(_WINDOW, np.nan, np.float32), values])[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)
    some = np.isfinite(windows).any(axis=1)
    out[some] = np.nanmedian(windows[some], axis=1)
    return out


def _say(reason: str, row: int, columns: Columns, usual: dict[str, np.ndarray]) -> str:
    if reason == "sudden loss of road":
        return (f"sudden loss of road: {_percent(usual['drivable'][row])} of the picture was drivable,"
                f" now {_percent(columns.get('drivable')[row])}")
    if reason == "low confidence":
        return (f"low confidence: {columns.get('confidence')[row]:.2f}, it was {usual['confidence'][row]:.2f}")
    if reason == "flicker":
        return f"flicker: {_percent(columns.get('flicker')[row])} of the picture changed its label for this frame only"
    if reason == "jump":
        return f"jump: {_percent(columns.get('changed')[row])} of the picture changed its label at once"
    return f"unknown: {_percent(columns.get('unknown')[row])} of the picture, it was {_percent(usual['unknown'][row])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
