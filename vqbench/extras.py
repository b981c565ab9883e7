"""Which packages an extra brings: measuring is optional, and a verb that needs it says what to install."""

from __future__ import annotations

from vqbench.errors import MissingExtraError

MEASURING = {
    "av": "av",
    "torch": "torch",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "safetensors": "safetensors",
    "pyarrow": "pyarrow",
    "fsspec": "fsspec",
    "lightning-fabric": "lightning_fabric",
    "tensorboardX": "tensorboardX",
    "jiwer": "jiwer",
    "rapidfuzz": "rapidfuzz",
    "scipy": "scipy",
    "openai-whisper": "whisper",
    "faster-whisper": "faster_whisper",
    "resemblyzer": "resemblyzer",
}
"""Distribution → module of the extra `bench`, all of which measuring and training need."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Says which extra brings the module that could not be imported; None for a module that no extra brings.

    >>> print(missing_extra(ModuleNotFoundError(name="torch")))
    measuring needs the package 'torch', which is not installed
      fix: pip install 'vqbench[bench]'
    >>> missing_extra(ModuleNotFoundError(name="vqbench.typo"))
    """
    module = (error.name or "").partition(".")[0]
    found = next((distribution for distribution, name in MEASURING.items() if name == module), None)
    return MissingExtraError(found, "bench", "measuring") if found else None
