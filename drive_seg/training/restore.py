"""From a network file back to a network that can be trained: what `drive-seg export` folded is taken apart again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from drive_seg.core.classes import ClassTable
from drive_seg.network import Network, NetworkError
from drive_seg.training.export import fold
from drive_seg.training.model import ConvNorm, Segmenter
from drive_seg.training.recipe import Recipe
from drive_seg.training.run_folder import Run, RunError

HEADS = ("auxiliary16.", "auxiliary8.", "boundary.")
"""Parts that only training has; no file brings them."""

LESS = 3.0
"""How far below the class that it is within a new class's logit begins: it never wins before it has learned."""

NEVER = -8.0
"""Logit of a new class that is within none, before it has learned."""


def read_network(path: Path) -> Network:
    """A network file's description. Raises RunError."""
    try:
        return Network.load(path)
    except NetworkError as error:
        raise RunError(error.reason, error.fix) from error


def check_file(network: Network, width: float) -> None:
    """Raise RunError where a network's file can't be trained on."""
    _read(network, width)


@torch.no_grad()
def restore(network: Network, table: ClassTable, width: float, pictures: torch.Tensor) -> Segmenter:
    """A network that gives the file's answers for the classes that it has, and can be trained.

    table: the classes of the new network. Those of the file keep their weights, by name; a new one begins as the class
    that it is within, or from nothing. pictures: (N, 3, H, W) uint8 RGB, what the training shows: batch norms get the
    mean and the variance that their convolutions put out there, and the scale and offset that undo them, so that they
    change nothing. The heads that only training has begin at random. Raises RunError.
    """
    folded = _read(network, width)
    return _unfold(folded, _outputs(folded, pictures), network.table, table, width)


@torch.no_grad()
def blend(trained: Segmenter, table: ClassTable, former: Network, share: float) -> Segmenter:
    """A network between a trained one and the file that its run started from: `share` of the file's weights, the rest
    of the trained one's, batch norms folded (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    table: the trained network's classes; one that the file lacks keeps what it has learned, or it would fall silent
    again. To be asked and exported, not trained. Raises RunError.
    """
    width = trained.classify.in_channels / Segmenter(1).classify.in_channels
    folded = _read(former, width)
    plain = _plain(folded)
    start = _unfold(folded, plain, former.table, table, width)
    ours, theirs = fold(trained), fold(start)
    mixed = {name: value.lerp(theirs.state_dict()[name], share) for name, value in ours.state_dict().items()}
    new = [c.id for c in table.classes if c.name not in former.table.names]
    for name in ("classify.weight", "classify.bias"):
        mixed[name][new] = ours.state_dict()[name][new]
    ours.load_state_dict(mixed)
    return _unfold(ours, plain, table, table, width)


@torch.no_grad()
def finished(network: Network) -> Run:
    """An exported network as the finished run that it came from, to be exported once more: batch norms folded, without
    the heads of training; where the data lay is not known. Raises RunError, ValueError (what is not a recipe)."""
    facts = network.provenance
    if not isinstance(facts.get("recipe"), dict):
        raise RunError(f"{network.path.with_suffix('.yaml')} does not say by which recipe the network was trained",
                       "name the folder of its run")
    try:
        recipe = Recipe(**Recipe.read(facts["recipe"]))
    except TypeError as error:  # a value that recipes do not have
        raise RunError(f"the recipe in {network.path.with_suffix('.yaml')} can't be used ({error})",
                       "name the folder of its run") from error
    folded = _read(network, recipe.width)
    restored = _unfold(folded, _plain(folded), network.table, network.table, recipe.width)
    return Run(restored.eval(), network.table, recipe, facts.get("steps", 0), 60 * facts.get("minutes", 0.0),
               facts.get("device", "cpu"), facts.get("data", []), [], facts.get("quick_val", {}),
               history(network)[:-1], facts.get("teacher"))


def _plain(folded: Segmenter) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Statistics of batch norms for a network that is not trained further."""
    return {name: (torch.zeros(()), torch.ones(())) for name, module in folded.named_modules()
            if isinstance(module, ConvNorm)}


def _read(network: Network, width: float) -> Segmenter:
    """The network in a file, batch norms folded. Raises RunError."""
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).astype(np.float32))
               for one in onnx.load(network.path).graph.initializer}
    folded = fold(Segmenter(len(network.table), width))
    wanted = {name: value for name, value in folded.state_dict().items() if not name.startswith(HEADS)}
    if missing := sorted(set(wanted) - set(weights)):
        raise RunError(f"{network.path} is not an fp32 or fp16 network that `drive-seg export` wrote: it has no"
                       f" {missing[0]}", "name another one")
    for name, value in wanted.items():
        if weights[name].shape != value.shape:
            raise RunError(f"{network.path} is not of the recipe's width {width}: {name} is"
                           f" {tuple(weights[name].shape)}, expected {tuple(value.shape)}", "set `width` in the recipe")
    folded.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    return folded


def _unfold(folded: Segmenter, statistics: dict[str, tuple[torch.Tensor, torch.Tensor]], former: ClassTable,
            table: ClassTable, width: float) -> Segmenter:
    """The same with batch norms of these statistics that change nothing, and the classes of `table`."""
    weights = folded.state_dict()
    restored = Segmenter(len(table), width).eval()
    restored.backbone.load_state_dict(folded.backbone.state_dict())
    for name, module in restored.named_modules():
        if isinstance(module, ConvNorm):
            conv, norm = module[0], module[1]
            bias = weights[f"{name}.0.bias"]
            mean, variance = statistics[name]
            conv.weight.copy_(weights[f"{name}.0.weight"])
            norm.running_mean.copy_(mean - bias)
            norm.running_var.copy_(variance)
            norm.weight.copy_(torch.sqrt(variance + norm.eps))
            norm.bias.copy_(mean)
    _set_classifier(restored, former, table, weights["classify.weight"], weights["classify.bias"])
    return restored


def _outputs(folded: Segmenter, pictures: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and variance of each channel that a convolution with a batch norm puts out, by the name of the module."""
    sums: dict[str, list] = {}

    def watch(name: str):
        def hook(_module, _inputs, output: torch.Tensor) -> None:
            values = output.double()
            entry = sums.setdefault(name, [0, 0.0, 0.0])
            entry[0] += values.shape[0] * values.shape[2] * values.shape[3]
            entry[1] = entry[1] + values.sum((0, 2, 3))
            entry[2] = entry[2] + (values ** 2).sum((0, 2, 3))
        return hook

    for name, module in folded.named_modules():
        if isinstance(module, ConvNorm):
            module[0].register_forward_hook(watch(name))
    for batch in pictures.split(8):
        folded(batch.float())
    found = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        found[name] = mean.float(), (squares / count - mean ** 2).clamp(min=1e-8).float()
    return found


def _set_classifier(network: Segmenter, former: ClassTable, table: ClassTable, weight: torch.Tensor,
                    bias: torch.Tensor) -> None:
    rows = {c.name: c.id for c in former.classes}
    for c in table.classes:
        if c.name in rows:
            network.classify.weight[c.id] = weight[rows[c.name]]
            network.classify.bias[c.id] = bias[rows[c.name]]
        elif c.within in rows:
            network.classify.weight[c.id] = weight[rows[c.within]]
            network.classify.bias[c.id] = bias[rows[c.within]] - LESS
        else:
            network.classify.weight[c.id] = 0
            network.classify.bias[c.id] = NEVER


def history(network: Network) -> list[dict]:
    """The runs that the network came from, as a run folder keeps it (see run_folder.Run.earlier)."""
    facts = network.provenance
    last = facts.get("recipe") or {}
    runs = [run | {"recipe": {k: v for k, v in (last | run["recipe"]).items()
                              if run["recipe"].get(k, v) is not None or k in ("minutes", "workers")}}
            for run in facts.get("earlier", []) if isinstance(run, dict) and isinstance(run.get("recipe"), dict)]
    return [*runs, {"steps": facts.get("steps", 0), "minutes": facts.get("minutes", 0.0), "recipe": dict(last),
                    "data": facts.get("data", []), "network": network.name, "onnx_sha256": network.sha256}]
