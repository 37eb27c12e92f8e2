"""Recipes as JSON files, of a training run and of an adaptation."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

R = TypeVar("R", bound="RecipeFile")


@dataclass(frozen=True)
class RecipeFile:
    """What a recipe, a frozen dataclass whose constructor checks its values, needs to lie in a file."""

    tuples: ClassVar[tuple[str, ...]] = ()
    """Names of the values that are lists in JSON."""

    def save(self, path: Path) -> None:
        """Write every value."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls: type[R], path: Path) -> R:
        """The recipe of a file; what it leaves out is as by default. Raises ValueError for what is not a recipe; the
        message names the file and the value."""
        try:
            values = json.loads(path.read_text())
            if not isinstance(values, dict):
                raise ValueError("must be a JSON object with the recipe's values, such as {\"steps\": 4000}")
            unknown = set(values) - {f.name for f in fields(cls)}
            if unknown:
                raise ValueError(f"{', '.join(sorted(unknown))} is not part of a recipe")
            return cls(**cls.read(values))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def read(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The constructor's arguments from the values of a file. Raises ValueError."""
        return {name: tuple(value) if name in cls.tuples and isinstance(value, list) else value
                for name, value in values.items()}
