"""Distillation: a trained network's answers count beside the labels, where they say nothing too.

A run keeps its teacher (RUN/teacher.pt), so that it goes on without the teacher's own folder.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch.nn import functional as F

from drive_seg.core.classes import ClassTable
from drive_seg.training.model import Segmenter
from drive_seg.training.run_folder import RunError, load_run, report_damage

TEMPERATURE = 2.0
"""Softens both networks' probabilities, so that the classes a teacher ranks second count too."""


def of_run(run: Path, table: ClassTable) -> dict:
    """What to keep of a run to be taught by its averaged network. Raises RunError where its classes are not those of
    the table."""
    taught = load_run(run)
    if taught.table.names != table.names:
        raise RunError(f"the teacher in {run} has the classes {', '.join(taught.table.names)}, this run has"
                       f" {', '.join(table.names)}",
                       "name a run on the same first data set")
    facts = {"steps": taught.step, "minutes": round(taught.seconds / 60, 1), "recipe": asdict(taught.recipe)}
    facts |= {"data": taught.data, **({"earlier": taught.earlier} if taught.earlier else {}),
              **({"teacher": taught.teacher} if taught.teacher else {})}
    return {"facts": facts, "classes": len(table), "width": taught.recipe.width,
            "network": taught.network.state_dict()}


def network(teacher: dict, file: Path, device: torch.device) -> Segmenter:
    """The network of it, to be asked only. file: where it is kept, for errors. Raises RunError."""
    with report_damage(file):
        asked = Segmenter(teacher["classes"], teacher["width"])
        asked.load_state_dict(teacher["network"])
    return asked.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Divergence of the student's softened probabilities from the teacher's, mean over cells, times the temperature
    squared (Hinton, Vinyals and Dean, 2015).

    logits, teacher: (N, C, H, W).
    """
    student = F.log_softmax(logits / TEMPERATURE, 1)
    each = F.kl_div(student, F.log_softmax(teacher / TEMPERATURE, 1), reduction="none", log_target=True)
    return TEMPERATURE ** 2 * each.sum(1).mean()
