"""Losses. Targets are codes: each names the set of classes that a pixel may be."""

from __future__ import annotations

import torch
from torch.nn import functional as F

IGNORE = 255


class CodeBook:
    """Which classes each target code allows.

    A fully labelled pixel's code allows one class, that of one labelled only as "obstacle" every class of that group.
    """

    def __init__(self, allowed: torch.Tensor, weights: torch.Tensor, family: torch.Tensor | None = None,
                 group: torch.Tensor | None = None) -> None:
        """allowed: (codes, classes) bool. weights: (classes,) loss weight of each class. family: (classes,) int64, the
        class that each is within, itself for one of its own; None where each is of its own. group: (classes,) int64,
        the planner group of each class; None where no loss asks for it."""
        family = torch.arange(allowed.shape[1]) if family is None else family
        self.allowed = allowed
        self.single = allowed.sum(1) == 1
        # Labelled as a class or one within it: a region with a shape and edges of its own.
        self.definite = torch.tensor([len(family[row].unique()) == 1 for row in allowed])
        group = torch.zeros(allowed.shape[1], dtype=torch.int64) if group is None else group
        self.members = F.one_hot(group).float()
        # (codes,): the group of a code, -1 where it leaves open which.
        self.group = torch.tensor([int(group[row][0]) if len(group[row].unique()) == 1 else -1 for row in allowed])
        self.penalty = torch.where(allowed, 0.0, float("-inf")).float()
        share = allowed.float() / allowed.sum(1, keepdim=True)
        self.weights = share @ weights.float()
        self.classes = allowed.float().argmax(1)

    def to(self, device: torch.device) -> CodeBook:
        for name in ("allowed", "single", "definite", "members", "group", "penalty", "weights", "classes"):
            setattr(self, name, getattr(self, name).to(device))
        return self


def marginal_cross_entropy(logits: torch.Tensor, codes: torch.Tensor, book: CodeBook) -> torch.Tensor:
    """-log of the probability that the pixel is any of the allowed classes, weighted mean over labelled pixels.

    logits: (N, C, H, W). codes: (N, H, W) int64, IGNORE where nothing is said. The log of a sum of probabilities is the
    difference of two log-sum-exps: over the allowed classes and over all.
    """
    flat, codes = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1]), codes.reshape(-1)
    weights = by_code(book.weights.float(), 0.0)[codes]
    if not weights.any():
        return logits.sum() * 0
    # One class or none: of all pixels at once, as picking some out takes longer.
    classes = by_code(torch.where(book.single, book.classes, IGNORE), IGNORE)[codes]
    loss = (F.cross_entropy(flat, classes, reduction="none", ignore_index=IGNORE) * weights).sum()
    vague = (classes == IGNORE) & (weights > 0)
    if vague.any():
        several = flat[vague]
        inside = torch.logsumexp(several + book.penalty[codes[vague]], 1)
        loss = loss + ((torch.logsumexp(several, 1) - inside) * weights[vague]).sum()
    return loss / weights.sum()


def by_code(values: torch.Tensor, ignored: float) -> torch.Tensor:
    """A table of 256 that label pictures can index: the value of each code, `ignored` for IGNORE and unused codes."""
    return torch.cat([values, values.new_full((IGNORE + 1 - len(values),), ignored)])


def lovasz_softmax(logits: torch.Tensor, codes: torch.Tensor, book: CodeBook) -> torch.Tensor:
    """Lovász-softmax over the codes present (Berman, Triki and Blaschko, CVPR 2018, algorithm 1).

    logits: (P, C). codes: (P,) int64, definite ones (see CodeBook). The convex surrogate of 1 - mean IoU. The
    probability of a code is that of all its classes together; a pixel whose own code would leave open whether it is
    of another one does not count for that.
    """
    if codes.numel() == 0:
        return logits.sum() * 0
    probabilities = logits.softmax(1)
    losses = []
    for code in codes.unique():
        allowed = book.allowed[code]
        mine = book.allowed[codes]
        inside = ~(mine & ~allowed).any(1)
        clear = inside | ~(mine & allowed).any(1)
        truth = inside[clear].float()
        errors, order = torch.sort((truth - probabilities[clear][:, allowed].sum(1)).abs(), descending=True)
        truth = truth[order]
        missed = truth.sum() - truth.cumsum(0)
        union = truth.sum() + (1 - truth).cumsum(0)
        jaccard = 1 - missed / union
        gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append(torch.dot(errors, gradient))
    return torch.stack(losses).mean()


def group_lovasz(logits: torch.Tensor, codes: torch.Tensor, book: CodeBook) -> torch.Tensor:
    """Lovász loss of the planner groups, each picture by itself: the surrogate of 1 - IoU of the labels that are
    published, mean over the groups that a picture shows.

    logits: (N, P, C), of P pixels of each picture. codes: (N, P) int64, IGNORE where nothing is said. The probability
    of a group is that of all its classes together. Pixels whose code leaves the group open do not count.
    """
    group = by_code(book.group, -1)[codes]
    known = group >= 0
    probabilities = logits.softmax(2) @ book.members
    losses = []
    for one in range(book.members.shape[1]):
        truth = (group == one).float()
        # A pixel that does not count gets no error: it comes last, and with nothing.
        errors = (truth - probabilities[:, :, one]).abs() * known
        errors, order = torch.sort(errors, dim=1, descending=True)
        ordered = truth.gather(1, order)
        shown = ordered.sum(1, keepdim=True)
        jaccard = 1 - (shown - ordered.cumsum(1)) / (shown + (1 - ordered).cumsum(1))
        gradient = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], 1)
        losses.append((errors * gradient).sum(1)[shown.squeeze(1) > 0])
    every = torch.cat(losses)
    return every.mean() if len(every) else logits.sum() * 0


def boundary_target(codes: torch.Tensor, book: CodeBook) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the class changes, at half the labels' resolution.

    codes: (N, H, W). Returns (edge, valid), each (N, H/2, W/2) float: edge 1 in cells with a change of code within one
    label pixel; valid 0 in cells that touch unlabelled pixels, or lie inside a region whose class is partly labelled.
    """
    padded = F.pad(codes.float().unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    highest = F.max_pool2d(padded, 3, 1)
    edge = F.max_pool2d((highest != -F.max_pool2d(-padded, 3, 1)).float(), 2).squeeze(1)
    definite = by_code(book.definite, False)
    vague = F.max_pool2d((~definite[codes]).float().unsqueeze(1), 2).squeeze(1)
    unlabelled = F.max_pool2d((highest == IGNORE).float(), 2).squeeze(1)
    return edge, (1 - unlabelled) * (1 - vague * (1 - edge))


def boundary_loss(logits: torch.Tensor, codes: torch.Tensor, book: CodeBook) -> torch.Tensor:
    """Binary cross-entropy plus Dice on class boundaries (as the detail head of STDC, Fan et al., CVPR 2021).

    logits: (N, 1, H/4, W/4) for codes (N, H/2, W/2).
    """
    edge, valid = boundary_target(codes, book)
    logits = logits.squeeze(1)
    each = F.binary_cross_entropy_with_logits(logits, edge, reduction="none") * (1 + 2 * edge)
    probability = logits.sigmoid() * valid
    dice = 1 - (2 * (probability * edge).sum() + 1) / ((probability ** 2).sum() + (edge * valid).sum() + 1)
    return (each * valid).sum() / valid.sum().clamp(min=1) + dice
