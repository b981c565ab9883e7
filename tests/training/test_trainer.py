"""Training learns, resumes exactly, and says clearly what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hearable_pairs import pairs as hearable_pairs
from hearable_pairs import write_pairs
from interrupting import Interrupting
from small_trainings import MODEL, digest, equal, log_of, run, sources_of, weights, write_chirps
from tiny_teacher import teacher

from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import Recipe, load_recipe
from vqbench.errors import CheckpointError, ConfigError, DataError, TrainingError
from vqbench.progress import Silent
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.training.trainer import Sources, train, training_digest, write_half

RECONSTRUCT = {
    "data": [{"manifest": "manifest.jsonl"}],
    "steps": 24,
    "batch_size": 4,
    "crop_frames": 32,
    "learning_rate": 0.003,
    "warmup_steps": 4,
    "codebook": {"kmeans_iterations": 3, "restart_every": 2, "restart_below": 0.5, "decay": 0.5},
    "validate_every": 6,
    "validation_share": 0.3,
    "checkpoint_every": 6,
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The folder of a manifest of twelve clips."""
    return write_chirps(tmp_path).parent


def write_recipe(folder: Path, name: str = "small", **changes: object) -> Path:
    path = folder / f"{name}.yaml"
    content = {"name": name, "seed": 3, "model": MODEL, "reconstruct": {**RECONSTRUCT, **changes}}
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_loss_falls_and_the_log_says_so(corpus: Path, tmp_path: Path) -> None:
    path = run(load_recipe(write_recipe(corpus, steps=60)), tmp_path / "out")
    rows = log_of(tmp_path / "out/reconstruct")
    assert [int(row["step"]) for row in rows] == list(range(0, 61, 6))
    assert float(rows[-1]["validation_l1"]) < 0.8 * float(rows[0]["validation_l1"])
    assert load_tokenizer(path).codebook_size == 32
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "checkpoint.safetensors",
        "checkpoint.safetensors.sha256",
        "reconstruct",
        "training.json",
    ]
    left = {p.name for p in (tmp_path / "out/reconstruct").iterdir() if not p.name.startswith("events.out.tfevents.")}
    weights_files = {"weights.safetensors", "weights.safetensors.sha256"}
    assert left == {"best.safetensors", "last.safetensors", "log.csv", *weights_files}


def test_best_and_last_weights_are_candidates_of_their_own(corpus: Path, tmp_path: Path) -> None:
    unsteady = {"steps": 18, "warmup_steps": 17, "learning_rate": 0.124, "validate_every": 1}
    last = run(load_recipe(write_recipe(corpus, **unsteady)), tmp_path / "last")
    best = run(load_recipe(write_recipe(corpus, **unsteady, keep="best")), tmp_path / "best")
    for kept in (tmp_path / "last/reconstruct", tmp_path / "best/reconstruct"):
        assert equal(weights(kept / "last.safetensors"), weights(last))
        assert equal(weights(kept / "best.safetensors"), weights(best))
    rows = log_of(tmp_path / "last/reconstruct")
    assert min(rows, key=lambda row: float(row["validation_l1"])) is not rows[-1]
    assert not equal(weights(best), weights(last))


@pytest.mark.parametrize("at", [1, 6, 7, 13, 23])
def test_an_interrupted_training_ends_bit_for_bit_the_same(at: int, corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    unbroken = run(recipe, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "broken", Interrupting("reconstruct", at))
    assert not (tmp_path / "broken/checkpoint.safetensors").exists()
    resumed = run(recipe, tmp_path / "broken")
    assert equal(weights(unbroken), weights(resumed))
    logs = [(tmp_path / name / "reconstruct/log.csv").read_text() for name in ("unbroken", "broken")]
    assert logs[0] == logs[1]


def test_killed_at_any_moment_the_same_command_ends_the_same(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, steps=200, checkpoint_every=5)
    command = [sys.executable, "-m", "vqbench", "train", str(recipe), "-q", "--device", "cpu", "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "unbroken")], check=True, env=environment, capture_output=True)
    broken = tmp_path / "broken"
    process = subprocess.Popen([*command, str(broken)], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (broken / "reconstruct/state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (broken / "reconstruct/state.pt").exists()
    assert not (broken / "checkpoint.safetensors").exists()
    subprocess.run([*command, str(broken)], check=True, env=environment, capture_output=True)
    assert equal(weights(tmp_path / "unbroken/checkpoint.safetensors"), weights(broken / "checkpoint.safetensors"))


def test_a_finished_training_is_not_done_again(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    path = run(recipe, tmp_path / "out")
    before = path.stat().st_mtime_ns
    assert run(recipe, tmp_path / "out") == path
    assert path.stat().st_mtime_ns == before


def test_a_folder_of_another_recipe_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    path = run(load_recipe(write_recipe(corpus)), tmp_path / "out")
    content = path.read_bytes()
    with pytest.raises(TrainingError, match="another recipe"):
        run(load_recipe(write_recipe(corpus, name="other", learning_rate=0.001)), tmp_path / "out")
    assert path.read_bytes() == content


def test_another_seed_gives_other_weights(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    a = run(recipe, tmp_path / "a")
    b = run(recipe.model_copy(update={"seed": 4}), tmp_path / "b")
    assert not equal(weights(a), weights(b))


def test_no_steps_make_an_untrained_candidate_without_data(tmp_path: Path) -> None:
    recipe = Recipe(name="untrained", model=MODEL)
    assert load_tokenizer(run(recipe, tmp_path)).codebook_size == 32


def test_no_steps_of_a_phase_leave_what_came_before(corpus: Path, tmp_path: Path) -> None:
    untrained = run(Recipe(name="untrained", seed=3, model=MODEL), tmp_path / "untrained")
    assert equal(weights(run(load_recipe(write_recipe(corpus, steps=0)), tmp_path / "out")), weights(untrained))


def test_the_digest_follows_what_decides_the_weights(corpus: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    clips = sources_of(recipe).clips["reconstruct"]
    expected = digest(recipe)
    assert digest(load_recipe(write_recipe(corpus, name="renamed"))) == expected
    assert training_digest(recipe, Sources({"reconstruct": clips[1:]})) != expected
    assert training_digest(recipe, Sources({"reconstruct": [(clip, 2.0) for clip, _ in clips]})) != expected
    assert digest(load_recipe(write_recipe(corpus, name="longer", steps=25))) != expected
    assert digest(recipe.model_copy(update={"seed": 4})) != expected


def test_the_digest_of_pairs_to_be_made_follows_what_is_said_and_by_whom(tmp_path: Path) -> None:
    def made_of(place: str, said: str = "a b c", n_voices: int = 4, **pairs: object) -> str:
        sentences = tmp_path / place / "sentences.txt"
        voices = write_chirps(sentences.parent, n_voices)
        sentences.write_text(said)
        source = {"n": 5, "sentences": str(sentences), "voices": {"manifest": voices}, **pairs}
        return digest(Recipe(name="made", teacher="pocket", pairs=source, model=MODEL, distil={}), teacher())

    expected = made_of("here")
    assert made_of("there") == expected
    others = [
        made_of("there", said="a b"),
        made_of("there", n_voices=5),
        made_of("there", n=6),
        made_of("there", seed=1),
        made_of("there", hold_out_speakers=["a"]),
    ]
    assert len({expected, *others}) == 6


def test_only_the_named_speakers_are_heard(corpus: Path, tmp_path: Path) -> None:
    def clips(*speakers: str) -> list[str]:
        data = [{"manifest": "manifest.jsonl", **({"speakers": list(speakers)} if speakers else {})}]
        recipe = load_recipe(write_recipe(corpus, data=data))
        return [clip.id for clip, _ in sources_of(recipe).clips["reconstruct"]]

    assert clips() == clips("a", "b") == [f"clip-{i}" for i in range(12)]
    assert clips("b") == [f"clip-{i}" for i in range(1, 12, 2)]
    with pytest.raises(DataError, match=r"there is no clip of the speaker 'c'(?s:.)*one of a, b"):
        clips("a", "c")


def test_a_diverging_loss_stops_with_its_cause(corpus: Path, tmp_path: Path) -> None:
    beyond_fp32 = {"l2": 1e39}
    recipe = load_recipe(write_recipe(corpus, learning_rate=1.0, clip_norm=1e30, loss=beyond_fp32))
    with pytest.raises(TrainingError, match="diverged") as caught:
        run(recipe, tmp_path / "out")
    assert "learning_rate" in str(caught.value)
    assert not (tmp_path / "out/checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("layers", "joint", "message"),
    [
        (
            3,
            {"crop_frames": 36},
            r"crops of 36 frames are not whole tokens of 8 frames(?s:.)*joint\.crop_frames a multiple",
        ),
        (3, {"crop_frames": 32}, "a token of this VQVAE stands for 8 mel frames, one of a GPT for 4"),
        (2, {"crop_frames": 30}, "crops of 30 frames are not whole tokens of 4 frames"),
    ],
)
def test_a_start_that_does_not_fit_is_named_before_anything_is_done(
    layers: int, joint: dict[str, int], message: str, corpus: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start.safetensors"
    dvae = DVAE(Dimensions(codebook_size=8, codebook_dim=4, hidden_dim=8, num_layers=layers, num_resnet_blocks=0))
    save_checkpoint(start, dvae, MelSpec(), {})
    data = [{"manifest": corpus / "manifest.jsonl"}]
    pairs = {"folder": write_pairs(tmp_path / "pairs", hearable_pairs()[:4])} if "32" in str(joint) else None
    guard = {"kind": "none"}
    recipe = Recipe(name="on", start=start, pairs=pairs, joint={"data": data, "guard": guard, **joint})
    with pytest.raises((CheckpointError, ConfigError), match=message):
        run(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_fine_tuning_would_stumble_over_is_named_before_anything_is_trained(corpus: Path, tmp_path: Path) -> None:
    def recipe(size: int) -> Recipe:
        phases = {"reconstruct": RECONSTRUCT, "finetune": {"batch_size": 4}}
        data = [{"manifest": corpus / "manifest.jsonl"}]
        model = {**MODEL, "codebook_size": size}
        sections = {phase: {**section, "data": data} for phase, section in phases.items()}
        return Recipe(name="tuned", teacher="pocket", model=model, **sections)

    with pytest.raises(CheckpointError, match=r"the VQVAE has 65 codes, the teacher's GPT 64"):
        run(recipe(65), tmp_path / "out", teacher=teacher())
    manifest = corpus / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"text": "chirp number 3", ', ""))
    with pytest.raises(DataError, match="clip-3: the clip has no transcript"):
        run(recipe(64), tmp_path / "out", teacher=teacher())
    assert not (tmp_path / "out").exists()


def test_nothing_left_to_train_on(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus, validation_share=0.5))
    clips = sources_of(recipe).clips["reconstruct"]
    held_out = [one for one in clips if one[0].id == "clip-2"]
    with pytest.raises(TrainingError, match="no clip is left"):
        train(recipe, Sources({"reconstruct": held_out}), tmp_path / "out", "cpu", Silent())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "reconstruct/state.pt",
        "reconstruct/weights.safetensors",
        "checkpoint.safetensors",
        "finetune/autoregressive.pth",
        "pairs-best/pairs-00000.parquet",
    ],
)
def test_a_training_of_unknown_recipe_is_neither_resumed_nor_overwritten(
    name: str, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_bytes(b"somebody's")
    with pytest.raises(TrainingError, match="says of which recipe"):
        run(load_recipe(write_recipe(corpus)), tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"somebody's"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000])
def test_a_damaged_marker_is_named(content: bytes, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"training\.json"):
        run(load_recipe(write_recipe(corpus)), tmp_path)


@pytest.mark.parametrize("damage", [lambda whole: whole[:1000], lambda whole: b"some text\n", lambda whole: b""])
def test_a_damaged_state_is_named_and_kept(damage: Callable[[bytes], bytes], corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "out", Interrupting("reconstruct", 8))
    state = tmp_path / "out/reconstruct/state.pt"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(TrainingError, match="saved state cannot be read"):
        run(recipe, tmp_path / "out")
    assert state.exists()


def test_finished_weights_that_were_damaged_are_made_again(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    path = run(recipe, tmp_path / "out")
    whole = path.read_bytes()
    for file in (path, tmp_path / "out/reconstruct/weights.safetensors"):
        file.write_bytes(b"x")
    assert run(recipe, tmp_path / "out").read_bytes() == whole


def test_half_precision_is_a_candidate_of_its_own(corpus: Path, tmp_path: Path) -> None:
    full = run(load_recipe(write_recipe(corpus)), tmp_path / "out")
    half = write_half(full)
    assert half.stat().st_size < 0.8 * full.stat().st_size
    assert load_tokenizer(half).digest != load_tokenizer(full).digest
