"""What the numbers in `labels` and `classes` mean, as JSON."""

from __future__ import annotations

import json

from drive_seg.core.classes import LABEL_COLOURS, LABEL_NAMES, ClassTable

LABEL_TABLE = "label_table"
"""Name of the latched topic."""


def label_table(table: ClassTable) -> str:
    """JSON: `labels` of ~/labels, and `classes` of ~/classes with their label; colours are RGB."""
    labels = [{"id": int(i), "name": name, "colour": list(LABEL_COLOURS[i])} for i, name in LABEL_NAMES.items()]
    classes = [{"id": c.id, "name": c.name, "label": int(c.group), "colour": list(c.colour), "drivable": c.drivable}
               for c in table.classes]
    return json.dumps({"labels": labels, "classes": classes})
