"""Class names that data sets use, and what each means to a planner.

A list of groups means: one of them, the name does not tell which (drive_seg.evaluation.dataset).
"""

from __future__ import annotations

from drive_seg.core.classes import Group

B, R, P, O = Group.BACKGROUND, Group.ROAD, Group.PAVEMENT, Group.OBSTACLE  # noqa: E741

IGNORED = frozenset({
    "void", "unlabeled", "unlabelled", "ignore", "ignored", "ignore region", "ego vehicle", "rectification border",
    "out of roi", "license plate", "other", "background", "__background__", "don't care", "difficult",
})
"""Names that tell nothing of a pixel: it is left out of losses and scores. `background` is among them, as labelling
tools and Pascal VOC call so whatever nobody has labelled."""

_KNOWN: dict[tuple[Group, ...], str] = {
    (R,): "road, street, asphalt, lane marking, lane markings, lanemarking, lanemkgsdriv, crosswalk,"
          " zebra crossing, road marking, speed bump, speedbreaker, drivable, drivable area, driveway, gravel road,"
          " dirt road, manhole, pothole, service lane, bike lane",
    (P,): "pavement, sidewalk, footpath, footway, walkway, curb, kerb, pedestrian area, curb cut, roadshoulder,"
          " road shoulder",
    (R, P): "parking, parking block, parkingblock",
    (R, B): "rail track, lanemkgsnondriv",
    (R, P, B): "ground",
    (O, B): "wall, static, misc text, traffic island, banner, retaining wall",
    (B,): "sky, building, house, tree, vegetation, terrain, grass, nature, mountain, hill, water, river, sea, archway,"
          " bridge, bridge tunnel, tunnel, vegetationmisc, plant, bush, hedge, sand, snow, flower, roof, skyscraper,"
          " window, door",
    (O,): "obstacle, pole, polegroup, pole group, column pole, utility pole, street light, lamp, sign,"
          " signsymbol, traffic sign, traffic light, trafficlight, stop sign, billboard, fence, guard rail, guardrail,"
          " barrier, car, vehicle, suvpickuptruck, truck bus, truck, van, bus, caravan, trailer, train, tram,"
          " airplane, aeroplane, boat, motorcycle, motorbike, motorcyclescooter, scooter, bicycle, bike, person,"
          " pedestrian, people, child, human, rider, bicyclist, cyclist, motorcyclist, cartluggagepram, othermoving,"
          " dynamic, animal, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, bench,"
          " fire hydrant, parking meter, trash can, traffic cone, trafficcone, cone, mailbox, stroller, wheelchair,"
          " cart, box, bag, backpack, umbrella, suitcase, skateboard, ball, chair, sofa, dining table, diningtable,"
          " potted plant, pottedplant, bottle, tv monitor, tvmonitor, tire, debris, stone, rock, bollard, hand cart,"
          " forklift, pallet, excavator, auto rickshaw, autorickshaw, rickshaw, tricycle",
}

GROUPS: dict[str, tuple[Group, ...]] = {
    name.strip(): groups for groups, names in _KNOWN.items() for name in names.split(",")}
"""Planner groups by name, in small letters."""

IDS: dict[str, int] = {name: id_ for id_, name in enumerate(GROUPS)}
"""A class's id in the data sets that import makes without a class table: always the same."""


def plain(name: str) -> str:
    """A class name as it is looked up: small letters, one space between words."""
    return " ".join(name.strip().lower().replace("_", " ").replace("-", " ").split())


def _listed(names: str) -> dict[int, str]:
    return {id_: name.strip() for id_, name in enumerate(names.split(","))}


CITYSCAPES_IDS = _listed(
    "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, parking,"
    " rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign,"
    " vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle")
"""Cityscapes' class names by id (cityscapesScripts, labels.py)."""

VOC_NAMES = _listed(
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike,"
    " person, pottedplant, sheep, sofa, train, tvmonitor") | {255: "void"}
"""Pascal VOC's class names by id."""
