"""Who reads an answer may go away, disks fill up, and programs are asked to end: each by its own exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import make_run
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.errors import DataError
from vqbench.files import remove_leftovers, sole_writer, write_whole
from vqbench.records.store import save_run

VQBENCH = [sys.executable, "-m", "vqbench"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that passes its gate, and one that fails it."""
    folder = tmp_path_factory.mktemp("runs")
    for name, rule in (("pass", "speech.wer <= 99"), ("fail", "speech.wer <= 0.0001")):
        save_run(make_run(gate=[rule], n_clips=12, resamples=50), folder / name)
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command.replace("vqbench", " ".join(VQBENCH))], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize(("run", "code"), [("pass", 0), ("fail", 1)])
@pytest.mark.parametrize("how", ["| true; exit ${PIPESTATUS[0]}", ">&-", "2>&1 | true; exit ${PIPESTATUS[0]}"])
def test_nobody_who_reads_changes_no_verdict(run: str, code: int, how: str, runs: Path) -> None:
    ended = shell(f"sleep 0; vqbench gate {run} {how}", runs)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("verb", ["gate pass", "report pass", "gate pass --json", "baseline list"])
def test_a_full_disk_is_named(verb: str, runs: Path) -> None:
    (runs / "baselines").mkdir(exist_ok=True)
    (runs / "baselines/one.json").write_bytes((runs / "pass/result.json").read_bytes())
    ended = shell(f"vqbench {verb} > /dev/full", runs)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.strip() == "error: the answer cannot be written to standard output: No space left on device"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("after_s", [0.05, 1.5])
def test_a_signal_ends_it_in_order(number: int, code: int, after_s: float, tmp_path: Path) -> None:
    """Whether it comes while Python is still importing, or in the middle of the work."""
    script = (
        "import sys, time, vqbench.cli.doctor\n"
        "import vqbench.engine.doctor as d\n"
        "sys.argv = ['vqbench', 'doctor']\n"
        "d.examine = lambda *a, **k: time.sleep(30)\n"
        "from vqbench.entry import main\n"
    )
    late = [sys.executable, "-c", script + "print('ready', flush=True)\nmain()"]
    early = [sys.executable, "-c", "from vqbench.entry import main\nprint('ready', flush=True)\nmain()"]
    process = subprocess.Popen(
        late if after_s > 1 else early,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in the background, they were told to ignore some, and children inherit it.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "interrupted" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [["run", "x.yaml", "-o", ""], ["report", ""], ["report", "x", "--output="]])
def test_an_empty_argument_is_not_the_folder_one_stands_in(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "an argument is empty" in result.stderr


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs/a"
    with sole_writer(folder):
        with pytest.raises(DataError, match="another process is at work"), sole_writer(folder):
            pass
        with sole_writer(tmp_path / "runs/b"):
            (tmp_path / "runs/b/kept").touch()
    assert not folder.exists()  # nothing was written there
    assert (tmp_path / "runs/b/kept").exists()
    with sole_writer(folder):
        pass
    assert (tmp_path / "runs").exists()


def test_what_a_killed_process_left_half_written_is_taken_away(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom vqbench import files\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_whole(Path(sys.argv[1]) / 'sub' / 'x', b'half')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    (left,) = tmp_path.rglob("*.partial")
    own = left.with_name(left.name.replace(left.name.split("-")[1], str(os.getpid())))
    own.write_bytes(b"being written")
    other = left.with_name(f".00000000-{left.name.split('-')[1]}-00.partial")
    other.write_bytes(b"of another machine")
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert own.exists()
    assert other.exists()
    write_whole(tmp_path / "sub/x", b"whole")
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == sorted(["x", own.name, other.name])
