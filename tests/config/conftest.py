"""A small project that has everything its suite and its recipe name."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_examples import FILES, RECIPE, SUITE, WHOLE_RECIPE


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of a project with `suites/quick.yaml` and two recipes, `brief` and `whole`, all without faults."""
    root = tmp_path / "project"
    for name in FILES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (root / "recipes").mkdir()
    (root / "suites/quick.yaml").write_text(SUITE)
    (root / "recipes/brief.yaml").write_text(RECIPE)
    (root / "recipes/whole.yaml").write_text(WHOLE_RECIPE)
    return root
