"""A whole adaptation: look at the footage, train, measure, and ship the network only if it is not worse."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2

from drive_seg.adaptation.footage import Footage, FootageError, collect, may_empty
from drive_seg.adaptation.judge import Check, judge, least_share
from drive_seg.adaptation.recipe import AdaptRecipe
from drive_seg.comparison.networks import Compared, Side, compare_drive, compare_labelled
from drive_seg.comparison.page import Cell, Section, compared_sections, table, write_page
from drive_seg.core.frame import Frame
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset
from drive_seg.labelling.pick import Drive
from drive_seg.network import Network
from drive_seg.runtimes import open_engine
from drive_seg.sources.frame_source import Shot

FOOTAGE, RESULT, PAGE, NETWORK = "footage", "result.json", "report.html", "adapted.onnx"

CANDIDATE = "candidate"
"""Folder of a network until it has passed."""

BLENDS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Shares of the former network's weights that are tried in turn: the first network that is not worse ships (Wortsman et
al., CVPR 2022: between a network and its fine-tuned self lies one that keeps what both know)."""

_PAIR_NS = 100_000_000
_NEXT_NS = 60_000_000_000


@dataclass
class Outcome:
    """What came of it. network: the file, None where every candidate was worse. share: of the former network's weights
    in it."""

    out: Path
    footage: Footage
    checks: list[Check] = field(default_factory=list)
    held_back: list[Compared] = field(default_factory=list)
    labelled: list[Compared] = field(default_factory=list)
    network: Path | None = None
    share: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    tried: list[dict] = field(default_factory=list)

    def to_dict(self) -> dict:
        """For result.json."""
        return {"network": None if self.network is None else self.network.name, "former_weights": self.share,
                "steps": self.steps, "minutes": round(self.seconds / 60, 2),
                "checks": [asdict(check) for check in self.checks], "tried": self.tried,
                "held_back": [one.to_dict() for one in self.held_back],
                "labelled": [one.to_dict() for one in self.labelled]}

    def lines(self) -> Iterator[str]:
        """What a person reads."""
        yield f"{self.steps} steps in {self.seconds / 60:.1f} minutes"
        for check in self.checks:
            yield f"  {'ok  ' if check.passed else 'WORSE'} {check.said}"
        if self.network is None:
            yield f"refused: the adapted network is worse, so none was written; see {self.out / PAGE}"
        else:
            mixed = f", {self.share:.0%} of the former weights" if self.share else ""
            yield f"network: {self.network}{mixed}; report: {self.out / PAGE}"


def look_at_footage(drives: Sequence[Drive], segmenter: Segmenter, out: Path, *, anyway: bool = False,
                    progress: Callable[[], None] = lambda: None) -> Footage:
    """Keep a sample of the drives in out/footage. Raises FootageError, with numbers, for what can't be adapted to."""
    footage = collect(drives, segmenter, out / FOOTAGE, segmenter.engine.input_size, progress=progress)
    try:
        if not anyway:
            footage.check()
        if not footage.held_back or not footage.training:
            raise FootageError(f"{len(footage.stills)} usable frames are too few to train on and to measure",
                               "give more footage")
    except FootageError:
        shutil.rmtree(out / FOOTAGE, ignore_errors=True)  # or it would be taken for a run to go on with
        raise
    return footage


def adapt(footage: Footage, former: Network, out: Path, recipe: AdaptRecipe, *, rehearsal: Sequence[Dataset] = (),
          scored: Sequence[Dataset] = (), resume: bool = False, device: str | None = None, int8: bool = False,
          engine: str = "openvino", progress: Callable[[float, str], None] = lambda share, said: None,
          say: Callable[[str], None] = lambda line: None) -> Outcome:
    """Train, measure and ship; see drive-seg adapt. rehearsal: labelled sets that are trained on and scored. scored:
    labelled sets that are only scored. Raises DriveSegError."""
    from drive_seg.adaptation.ship import provenance_of, write_network
    from drive_seg.adaptation.trainer import Adaptation, AdaptError, check_ends
    from drive_seg.training.restore import blend

    check_ends(rehearsal, scored, int8)
    if not resume and not may_empty(out / CANDIDATE):
        raise AdaptError(f"{out / CANDIDATE} is there already, and would be emptied", "move it, or name another folder")
    run = Adaptation(footage, former, out, recipe, rehearsal=rehearsal, resume=resume, device=device)
    run.run(progress)
    outcome = Outcome(out, footage, steps=run.step, seconds=run.seconds)
    labelled = [{"name": d.name, "licence": d.licence, "images": len(d.pairs("train"))} for d in rehearsal]
    sets = [d for d in (*rehearsal, *scored) if "val" in d.splits]
    mixed = recipe.method == "self-training"
    for share in BLENDS if mixed else BLENDS[:1]:
        if share < least_share(outcome.held_back, outcome.labelled):  # it would be refused like the first
            continue
        say(f"measuring{f' with {share:.0%} of the former weights' if share else ''}")
        candidate = run.average.cpu() if not share else blend(run.average.cpu(), former.table, former, share)
        shutil.rmtree(out / CANDIDATE, ignore_errors=True)
        facts = provenance_of(former, footage, recipe, step=run.step, seconds=run.seconds, device=run.device.type,
                              rehearsal=labelled, share=share)
        try:
            network = write_network(candidate, out / CANDIDATE / NETWORK, former, footage, facts, int8=int8)
        except (DriveSegError, ValueError) as error:  # such as logits without end, or no road left anywhere
            outcome.checks = [Check("network", False, f"no network can be made of it: {error}")]
        else:
            _measure(outcome, former, network, sets, engine, share if mixed else None)
        outcome.tried.append({"former_weights": share, "passed": all(c.passed for c in outcome.checks),
                              "checks": [asdict(check) for check in outcome.checks]})
        if all(check.passed for check in outcome.checks):
            _remove_network(out)
            for file in (out / CANDIDATE).iterdir():  # the network, its YAML, and what that names
                file.replace(out / file.name)
            outcome.network, outcome.share = Network.load(out / NETWORK).path, share
            break
    if outcome.network is None:
        _remove_network(out)
    shutil.rmtree(out / CANDIDATE, ignore_errors=True)
    (out / RESULT).write_text(json.dumps(outcome.to_dict(), indent=1) + "\n")
    write_report(outcome, former, recipe)
    return outcome


def _remove_network(out: Path) -> None:
    """One that an earlier end of this run wrote: it is not what result.json tells of."""
    path = out / NETWORK
    for suffix in (".onnx", ".yaml", ".fp16.onnx", ".int8.onnx", ".int8_gpu.onnx"):
        path.with_suffix(suffix).unlink(missing_ok=True)


def _measure(outcome: Outcome, former: Network, new: Network, sets: Sequence[Dataset], engine: str,
             share: float | None) -> None:
    with ExitStack() as opened:
        def side(network: Network) -> Side:
            network = replace(network, int8=None)  # both in the same arithmetic and at the same input size
            runtime = open_engine(engine, network, input_size=outcome.footage.size)
            opened.callback(runtime.close)
            # What is typical of the new network was fitted on this very footage: shift is judged by the former's data.
            judged = replace(network, typical=former.typical)
            return Side(judged, Segmenter(runtime, network.table, surface=network.surface))

        sides = (side(former), side(new))
        outcome.held_back = [compare_drive(*sides, _held_back(outcome.footage, drive), f"{drive}, held back")
                             for drive in outcome.footage.drives
                             if any(still.drive == drive for still in outcome.footage.held_back)]
        outcome.labelled = [compare_labelled(*sides, dataset, "val") for dataset in sets]
        outcome.checks = judge(outcome.held_back, outcome.labelled, share)


def _held_back(footage: Footage, drive: str) -> Iterator[Shot]:
    """The held-back frames of a drive, each with the one that follows it where it is there."""
    for number, still in enumerate(s for s in footage.held_back if s.drive == drive):
        for following in (False, True) if still.follows else (False,):
            picture = cv2.cvtColor(footage.read(still, following), cv2.COLOR_RGB2BGR)
            yield Shot(number * _NEXT_NS + following * _PAIR_NS, f"{still.name}{'_next' if following else ''}",
                       Frame.from_array(picture))


def write_report(outcome: Outcome, former: Network, recipe: AdaptRecipe) -> None:
    """One page: before and after, the checks, and the pictures that changed most."""
    footage, shipped = outcome.footage, outcome.network is not None
    rows: list[list[Cell]] = [[check.name, (check.said, ""), ("passed", "good") if check.passed else ("worse", "bad")]
            for check in outcome.checks]
    tiles = [(str(len(footage.training)), "frames trained on"), (str(len(footage.held_back)), "frames held back"),
             (f"{outcome.seconds / 60:.1f} min", f"{outcome.steps} steps")]
    for one in outcome.labelled:
        if one.gain is not None:
            tiles.append((f"{100 * one.gain:+.2f}", f"points on {one.name}"))
    for one in outcome.held_back[:1]:
        tiles.append((f"{100 * one.agreement['labels']:.1f} %", "labels as before, held back"))
        before, after = one.former["confidence"], one.new["confidence"]
        if before is not None and after is not None:
            tiles.append((f"{100 * (after - before):+.2f}", "confidence, points"))
    made: list[list[Cell]] = [[name, (str(value), "")] for name, value in (
        ("former network", f"{former.name}, SHA-256 {former.sha256}"),
        ("inputs", ", ".join(f"{name} ({source})" for name, source in footage.drives.items())),
        ("frames", f"{footage.seen} seen, {footage.unreadable} unreadable, {footage.blank} blank,"
                   f" {footage.different} unlike one another"),
        ("road ahead", f"in {footage.road_ahead:.0%} of the frames"),
        ("former weights in the network", f"{outcome.share:.0%}" if shipped else "-"),
        ("recipe", json.dumps(asdict(recipe))), ("made", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())))]
    sections = [Section("May it ship?", table(("", "", ""), rows)),
                *compared_sections([*outcome.labelled, *outcome.held_back]),
                Section("How it was made", table(("", ""), made))]
    write_page(outcome.out / PAGE, kicker="drive_seg adapt", title=f"{former.name}, adapted",
               subtitle=", ".join(footage.drives), verdict="not worse: shipped" if shipped else "worse: refused",
               kind="good" if shipped else "bad", tiles=tiles, sections=sections,
               pictures=any(one.examples for one in (*outcome.labelled, *outcome.held_back)))
