"""pytest plugin: `pytest suites/quick.yaml` runs a suite, `pytest runs/quick/result.json` judges a finished run.

Every pytest run in an environment with vqbench loads this module, so it imports next to nothing, and it looks at no
file that the command line does not name. What is then collected is in `items`.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from vqbench.pytest_plugin.warned import WARNING


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("vqbench", "gates of vqbench, where a suite or a result.json is named")
    group.addoption(
        "--vqbench-baseline",
        metavar="NAME|PATH",
        help="What rules compare with: a name in baselines/, or a run. Where it is left out: the suite's own.",
    )
    group.addoption(
        "--vqbench-output",
        metavar="DIR",
        help="A suite's run is written to DIR/SUITE. Where it is left out: to runs/SUITE-TIME.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collects suites and results that the command line names."""
    found = yield
    if file_path.suffix not in (".yaml", ".yml", ".json") or not parent.session.isinitpath(file_path):
        return found
    # Another plugin may have tests of its own in YAML; but no linter must keep a suite from being gated.
    if found and b"candidates" not in file_path.read_bytes():
        return found
    from vqbench.pytest_plugin.items import ResultFile, SuiteFile

    kind = ResultFile if file_path.suffix == ".json" else SuiteFile
    return [*found, kind.from_parent(parent, path=file_path)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what passed and yet should be read: what looks odd in a run, and open rules that a suite lets pass."""
    warnings = [
        f"{report.nodeid}: {text}"
        for report in terminalreporter.stats.get("passed", [])
        for name, text in report.user_properties
        if name == WARNING
    ]
    if warnings:
        terminalreporter.section("vqbench: passed, but")
        for line in warnings:
            terminalreporter.write_line(line)
