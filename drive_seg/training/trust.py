"""Fit what turns pixels into unknown, record the self-test, and measure both on things that no class covers.

    python -m drive_seg.training.trust --data DIR [--data DIR ...] [--network FILE] [--surface] [--write]

Fits on the train splits what confidence and unknown share are typical, with --surface also how strange the surface of
true road may look (`unknown: surface`), records the self-test, and with --write rewrites the YAML of the network that
--network names. Where that YAML does not say what free energy is normal (`unknown: mean, std, limit`, which `drive-seg
export` fits), this is fitted first, on the first DIR; what it says is left as it is. Then it pastes objects onto the
true road of the first DIR's val split and prints, for several strictnesses, how much of the objects is called drivable
and how much true road turns unknown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from drive_seg.core.classes import Group
from drive_seg.core.decode import TrustModel
from drive_seg.core.drivable import DrivableRule
from drive_seg.core.frame import Frame
from drive_seg.core.health.network import measure
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import record_answer
from drive_seg.core.surface import CELLS, SurfaceRule, strange_surface
from drive_seg.errors import DriveSegError
from drive_seg.evaluation.dataset import Dataset
from drive_seg.evaluation.trust import ids_of, measure_pasted, table
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.training.energy import fit_energy
from drive_seg.yaml_file import read_yaml

SHARE = 0.01
"""Share of the true road cells of the training pictures that may turn unknown by their surface."""


def fit_surface(network: Network, dataset: Dataset, *, engine: str = "auto", images: int = 120) -> float:
    """The limit of the surface check."""
    plain = network.with_strictness(0)
    runtime = open_engine(engine, plain)
    road_ids = ids_of(dataset, Group.ROAD)
    segmenter = Segmenter(runtime, network.table)
    strange = []
    pairs = dataset.pairs("train")
    for pair in pairs[::max(1, len(pairs) // images)]:
        image, truth = pair.read()
        labels = segmenter.segment(image, drivable=False).labels
        road = _wholly(np.isin(truth, road_ids))
        strange.append(strange_surface(Frame.from_array(image), labels)[road])
    runtime.close()
    return round(float(np.quantile(np.concatenate(strange), 1 - SHARE)), 3)


class _Picture(Protocol):
    def read(self) -> tuple[np.ndarray, Any]: ...


class Pictures(Protocol):
    """As much of a Dataset as `fit` needs: the pictures of a split; what is beside them does not count."""

    def pairs(self, split: str) -> Sequence[_Picture]: ...


def fit(network: Network, *datasets: Pictures, engine: str = "auto", images: int = 120) -> dict:
    """The `unknown: typical` and the `self_test` for the network's YAML, in the engine's most exact arithmetic. images:
    evenly spread training pictures, of each data set as many."""
    runtime = open_engine(engine, replace(network, int8=None))
    segmenter = Segmenter(runtime, network.table, surface=network.surface)
    seen = []
    for dataset in datasets:
        pairs = dataset.pairs("train")
        for pair in pairs[::max(1, len(pairs) * len(datasets) // images)]:
            result = segmenter.segment(pair.read()[0], drivable=False)
            seen.append(measure(result.labels, result.confidence))
    mean, std = np.mean(seen, axis=0), np.std(seen, axis=0)
    typical = {name: [round(float(mean[i]), 4), round(float(std[i]), 4)]
               for i, name in enumerate(("confidence", "unknown"))}
    answer = record_answer(segmenter).to_dict()
    runtime.close()
    return {"unknown": {"typical": typical}, "self_test": answer}


def with_energy(network: Network, dataset: Dataset, *, engine: str = "auto") -> tuple[Network, dict]:
    """The network with its free energy fitted (see fit_energy), and the `unknown` that says so in its YAML."""
    trust = fit_energy(network, dataset, engine=engine)
    mean, std = ([round(float(value), 4) for value in values] for values in (trust.mean, trust.std))
    limit = round(trust.limit, 4)
    rounded = TrustModel(np.array(mean, np.float32), np.array(std, np.float32), limit)  # what the YAML will say
    return replace(network, trust=rounded), {"mean": mean, "std": std, "limit": limit}


def write(network: Network, fitted: dict) -> None:
    """Put the fitted values into the network's YAML, leaving the rest as it is."""
    path = network.path.with_suffix(".yaml")
    facts = read_yaml(path)
    facts["unknown"] = (facts.get("unknown") or {}) | fitted["unknown"]
    if "surface" not in fitted["unknown"]:
        facts["unknown"].pop("surface", None)
    facts["self_test"] = fitted["self_test"]
    text = yaml.safe_dump(facts, sort_keys=False, default_flow_style=None, width=160, allow_unicode=True)
    path.write_text(text)


def _wholly(mask: np.ndarray) -> np.ndarray:
    """Cells of which every pixel is set."""
    height, width = mask.shape
    row = np.arange(height) * CELLS[0] // height
    column = np.arange(width) * CELLS[1] // width
    missing = np.zeros(CELLS, np.int64)
    np.add.at(missing, (row[:, None], column[None, :]), ~mask)
    return missing == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, write when asked to, measure. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drive_seg.training.trust", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR",
                        help="a data set with train and val (see dataset.yaml); may be repeated")
    parser.add_argument("--network", type=Path, help="an .onnx file (default: the one that ships)")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--surface", action="store_true", help="fit and use the check of the road's surface")
    parser.add_argument("--write", action="store_true", help="rewrite the YAML beside the network")
    parser.add_argument("--no-measure", action="store_true", help="fit only")
    parser.add_argument("--min-confidence", type=float, default=DrivableRule.min_confidence, metavar="X",
                        help=f"of what is measured (default: {DrivableRule.min_confidence})")
    args = parser.parse_args(argv)
    if args.write and args.network is None:
        parser.error("--write rewrites the YAML beside a network: name it with --network")
    try:
        rule = DrivableRule(min_confidence=args.min_confidence)
        path = args.network or default_network()
        datasets, network = [Dataset.load(folder) for folder in args.data], replace(Network.load(path), surface=None)
        dataset = datasets[0]
        energy: dict[str, Any] = {}
        if network.trust is None:
            network, energy = with_energy(network, dataset, engine=args.engine)
        if args.surface:
            network = replace(network, surface=SurfaceRule(fit_surface(network, dataset, engine=args.engine)))
        fitted = fit(network, *datasets, engine=args.engine)
        fitted["unknown"] |= energy
        if network.surface is not None:
            fitted["unknown"]["surface"] = network.surface.limit
        print(yaml.safe_dump(fitted, sort_keys=False, default_flow_style=None, width=160))
        if args.write:
            write(network, fitted)
        if not args.no_measure:
            print(table(*measure_pasted(network, dataset, engine=args.engine, rule=rule)))
    except (DriveSegError, FileNotFoundError) as error:
        print(f"trust: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
