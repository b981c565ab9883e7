"""A Whisper in CTranslate2's format becomes openai-whisper's, exactly; anything else is refused by name."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from vqbench.errors import CheckpointError
from vqbench.judges.asr.ctranslate2_weights import load_converted_whisper, read_variables
from vqbench.judges.asr.recognizer import locate_model

TYPE_IDS = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(variables: dict[str, np.ndarray], *, spec: str = "WhisperSpec", version: int = 6) -> bytes:
    parts = [struct.pack("<I", version), string(spec), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [string(name), shape, struct.pack("<BI", TYPE_IDS[array.dtype.name], array.nbytes), array.tobytes()]
    aliases = struct.pack("<I", 1) + string("decoder/projection/weight") + string("decoder/embeddings/weight")
    return b"".join([*parts, aliases])


def small_whisper():
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(8, 6, 4, 2, 2, 11, 5, 4, 2, 1))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def as_ctranslate2(model) -> dict[str, np.ndarray]:
    """The small model's variables as CTranslate2's converter lays them out, written down by hand."""
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    out: dict[str, np.ndarray] = {
        "encoder/num_heads": np.array(2, np.int16),
        "decoder/num_heads": np.array(2, np.int16),
        "decoder/activation": np.array(3, np.int8),
        "encoder/position_encodings/encodings": state["encoder.positional_embedding"],
        "decoder/position_encodings/encodings": state["decoder.positional_embedding"],
        "decoder/embeddings/weight": state["decoder.token_embedding.weight"],
    }
    for theirs, ours in (("encoder/layer_norm", "encoder.ln_post"), ("decoder/layer_norm", "decoder.ln")):
        out |= {f"{theirs}/gamma": state[f"{ours}.weight"], f"{theirs}/beta": state[f"{ours}.bias"]}
    for conv in ("conv1", "conv2"):
        out |= {f"encoder/{conv}/{leaf}": state[f"encoder.{conv}.{leaf}"] for leaf in ("weight", "bias")}
    for side, n_layers in (("encoder", 2), ("decoder", 1)):
        for i in range(n_layers):
            block, layer = f"{side}.blocks.{i}", f"{side}/layer_{i}"
            attentions = [("self_attention", "attn")] + [("attention", "cross_attn")] * (side == "decoder")
            for theirs, ours in attentions:
                get = {part: state[f"{block}.{ours}.{part}.weight"] for part in ("query", "key", "value", "out")}
                bias = {part: state[f"{block}.{ours}.{part}.bias"] for part in ("query", "value", "out")}
                bias["key"] = np.zeros_like(bias["query"])
                joined = (
                    [("query", "key", "value"), ("out",)]
                    if ours == "attn"
                    else [("query",), ("key", "value"), ("out",)]
                )
                for k, parts in enumerate(joined):
                    out[f"{layer}/{theirs}/linear_{k}/weight"] = np.concatenate([get[part] for part in parts])
                    out[f"{layer}/{theirs}/linear_{k}/bias"] = np.concatenate([bias[part] for part in parts])
                out[f"{layer}/{theirs}/layer_norm/gamma"] = state[f"{block}.{ours}_ln.weight"]
                out[f"{layer}/{theirs}/layer_norm/beta"] = state[f"{block}.{ours}_ln.bias"]
            for k, ours in ((0, "mlp.0"), (1, "mlp.2")):
                out |= {
                    f"{layer}/ffn/linear_{k}/{leaf}": state[f"{block}.{ours}.{leaf}"] for leaf in ("weight", "bias")
                }
            out[f"{layer}/ffn/layer_norm/gamma"] = state[f"{block}.mlp_ln.weight"]
            out[f"{layer}/ffn/layer_norm/beta"] = state[f"{block}.mlp_ln.bias"]
    return out


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return as_ctranslate2(small_whisper())


def write(folder: Path, content: bytes) -> Path:
    (folder / "model.bin").write_bytes(content)
    return folder


def test_every_key_arrives_unchanged(tmp_path, variables):
    converted = load_converted_whisper(write(tmp_path, model_bin(variables)))
    expected = small_whisper()
    assert converted.dims == expected.dims
    assert converted.state_dict().keys() == expected.state_dict().keys()
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(converted.state_dict()[key], value, rtol=0, atol=0, msg=key)


def test_half_precision_becomes_single(tmp_path, variables):
    halves = {name: a.astype(np.float16) if a.dtype == np.float32 else a for name, a in variables.items()}
    weight = load_converted_whisper(write(tmp_path, model_bin(halves))).state_dict()["decoder.token_embedding.weight"]
    np.testing.assert_array_equal(weight, halves["decoder/embeddings/weight"].astype(np.float32))


def test_the_real_model_hears_what_ctranslate2_hears():
    """The encoders of both libraries, on the same weights and the same mel, agree in single precision."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    folder = locate_model("openai-whisper", "tiny.en")
    model = load_converted_whisper(folder).eval()
    assert (model.dims.n_vocab, model.dims.n_audio_layer, model.is_multilingual) == (51864, 4, False)
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    theirs = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    with torch.inference_mode():
        ours = model.encoder(mel).numpy()
    np.testing.assert_allclose(
        ours, np.array(theirs.encode(ctranslate2.StorageView.from_array(mel.numpy()))), atol=2e-3
    )


def changed(variables: dict[str, np.ndarray], name: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    others = {key: array for key, array in variables.items() if key != name}
    return others if value is None else {**others, name: value}


BROKEN = {
    "empty": (lambda v: b"", "truncated"),
    "text": (lambda v: b"#!/bin/sh\necho this is no model, but it is long enough to be read\n", "another kind"),
    "older version": (lambda v: model_bin(v, version=5), "binary version 5"),
    "another network": (lambda v: model_bin(v, spec="TransformerSpec"), "TransformerSpec"),
    "cut in the header": (lambda v: model_bin(v)[:9], "truncated"),
    "cut in a name": (lambda v: model_bin(v)[:30], "truncated"),
    "cut in the weights": (lambda v: model_bin(v)[:-600], "truncated"),
    "cut by one byte": (lambda v: model_bin(v)[:-1], "truncated"),
    "too long": (lambda v: model_bin(v) + b"more", "4 bytes follow the end"),
    "quantised": (lambda v: model_bin(changed(v, "encoder/conv1/bias", np.zeros(4, np.int8))), "quantised"),
    "a layer missing": (lambda v: model_bin(changed(v, "encoder/conv1/bias", None)), "conv1.bias"),
    "sizes missing": (lambda v: model_bin(changed(v, "encoder/num_heads", None)), "encoder/num_heads"),
    "positions missing": (
        lambda v: model_bin(changed(v, "encoder/position_encodings/encodings", None)),
        "positional_embedding",
    ),
    "an unknown layer": (lambda v: model_bin(changed(v, "encoder/lstm/weight", np.zeros((2, 2), np.float32))), "lstm"),
    "an unknown leaf": (lambda v: model_bin(changed(v, "encoder/conv1/scale", np.zeros(2, np.float32))), "scale"),
    "another shape": (lambda v: model_bin(changed(v, "encoder/conv1/bias", np.zeros(5, np.float32))), "conv1.bias"),
    "keys with a bias": (
        lambda v: model_bin(changed(v, "encoder/layer_0/self_attention/linear_0/bias", np.ones(12, np.float32))),
        "have a bias",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_such_model_is_refused(tmp_path, variables, name):
    make, problem = BROKEN[name]
    with pytest.raises(CheckpointError) as caught:
        load_converted_whisper(write(tmp_path, make(variables)))
    assert problem in str(caught.value)
    assert str(tmp_path) in caught.value.where


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_variables(tmp_path / "model.bin")
