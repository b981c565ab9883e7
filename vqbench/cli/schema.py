"""`vqbench schema`: the JSON schema of the YAML files, for editors."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from vqbench.cli import console


class YamlFile(str, Enum):
    """The YAML files that people write."""

    suite = "suite"
    recipe = "recipe"


def schema(kind: Annotated[YamlFile, typer.Argument(help="Which file's schema.")]) -> None:
    """Print the JSON schema of a YAML file.

    An editor completes and checks a suite or a recipe by it.

    Example: vqbench schema suite > suite.schema.json
    """
    from vqbench.report.tables.documents import to_json

    if kind is YamlFile.suite:
        from vqbench.config.suite import Suite

        console.answer(to_json(Suite.model_json_schema()))
    else:
        from vqbench.config.recipe import Recipe

        console.answer(to_json(Recipe.model_json_schema()))
