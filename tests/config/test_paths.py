"""Where a path in a file may lead."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from vqbench.errors import ConfigError
from vqbench.paths import project_root, resolve_inside


@pytest.fixture
def suites(tmp_path: Path) -> Path:
    """The folder `root/suites`, a file outside of `root`, and links of every kind."""
    folder = tmp_path / "root/suites"
    folder.mkdir(parents=True)
    (tmp_path / "root/inside.pth").write_text("")
    (tmp_path / "outside.pth").write_text("")
    (folder / "to_inside").symlink_to("../inside.pth")
    (folder / "to_outside").symlink_to("../../outside.pth")
    (folder / "to_folder_outside").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    return folder


@pytest.mark.parametrize(
    ("written", "relative"),
    [
        ("a.pth", "root/suites/a.pth"),
        ("./a/../b.pth", "root/suites/b.pth"),
        ("../inside.pth", "root/inside.pth"),
        ("../../root/inside.pth", "root/inside.pth"),
        ("to_inside", "root/inside.pth"),
        ("..", "root"),
        ("not~home/../a.pth", "root/suites/a.pth"),
    ],
)
def test_inside_the_root(suites: Path, tmp_path: Path, written: str, relative: str) -> None:
    assert resolve_inside(suites, written, tmp_path / "root") == tmp_path / relative


@pytest.mark.parametrize(
    "written",
    [
        "../../outside.pth",
        "../..",
        "to_outside",
        "to_folder_outside/outside.pth",
        "a/../../../outside.pth",
        "../../root2/x.pth",
    ],
)
def test_out_of_the_root_is_refused(suites: Path, tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match="leads out of") as caught:
        resolve_inside(suites, written, tmp_path / "root")
    assert "absolute" in str(caught.value.fix)


@pytest.mark.parametrize("written", ["", "  ", "a\0b", "~no-such-user-at-all/x", "\ud800"])
def test_what_cannot_be_a_path(suites: Path, tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match="path"):
        resolve_inside(suites, written, tmp_path / "root")


@pytest.mark.parametrize("written", ["to_outside", "to_folder_outside/outside.pth", "to_inside", "a/../to_outside"])
def test_where_links_are_followed_they_keep_their_names(suites: Path, tmp_path: Path, written: str) -> None:
    found = resolve_inside(suites, written, tmp_path / "root", follow_links=True)
    assert found == suites / written.removeprefix("a/../")
    assert found.is_file()


@pytest.mark.parametrize("written", ["../../outside.pth", "../..", "to_folder_outside/../../../outside.pth"])
def test_where_links_are_followed_dots_still_may_not_lead_out(suites: Path, tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match="leads out of"):
        resolve_inside(suites, written, tmp_path / "root", follow_links=True)


def test_a_loop_of_links_leads_nowhere(suites: Path, tmp_path: Path) -> None:
    with contextlib.suppress(ConfigError):  # newer Pythons give the link back
        assert not resolve_inside(suites, "loop", tmp_path / "root").is_file()


def test_absolute_and_home_are_asking(suites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for written in (str(tmp_path / "outside.pth"), "~/outside.pth"):
        assert resolve_inside(suites, written, tmp_path / "root") == tmp_path / "outside.pth"


def test_a_link_to_the_root_is_the_root(suites: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert resolve_inside(tmp_path / "link/suites", "../inside.pth", tmp_path / "link") == tmp_path / "root/inside.pth"


@pytest.mark.parametrize(
    ("mark", "root"),
    [("a/pyproject.toml", "a"), ("a/b/.git", "a/b"), ("a/b/c/pyproject.toml", "a/b/c"), (None, "a/b")],
)
def test_project_root(tmp_path: Path, mark: str | None, root: str) -> None:
    folder = tmp_path / "a/b/c"
    folder.mkdir(parents=True)
    if mark:
        (tmp_path / mark).write_text("")
    assert project_root(folder) == tmp_path / root
