"""What can be had by name: one table a kind, from a name to `module:object`, so that nothing is imported unasked.

A line here, or an entry point of another package in the group `vqbench.KIND`, makes a thing known everywhere: suites
accept its name, errors suggest it, and `vqbench list KIND` shows it. docs/extending.md has an example of each.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vqbench.errors import ConfigError, did_you_mean

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


class Registry(Mapping[str, str]):
    """Name → `module:object`, our own first, then those of entry points, by name.

    Args:
        kind: plural, as in `vqbench list KIND`; entry points are looked for in the group `vqbench.KIND`.
        own: those that come with vqbench; another package's entry of the same name does not replace one.
    """

    def __init__(self, kind: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self._own = own

    @cached_property
    def _known(self) -> dict[str, str]:
        found = sorted(metadata.entry_points(group=f"vqbench.{self.kind}"), key=lambda point: point.name)
        return {**self._own, **{point.name: point.value for point in found if point.name not in self._own}}

    def __getitem__(self, name: str) -> str:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def load(self, name: str) -> Any:
        """Imports what a name means.

        Raises:
            ConfigError: nothing is called so, or what is named cannot be found.
        """
        if name not in self:
            raise self.unknown(name)
        module, _, attribute = self[name].partition(":")
        if name in self._own:
            return getattr(import_module(module), attribute)
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{name!r} cannot be imported: {error}",
                where=f"the entry point {name} = {self[name]} in vqbench.{self.kind}",
                fix="install or mend the package that declares it",
            ) from error

    def about(self, name: str) -> str:
        """What a name means, in a line: how the docstring of its object, or of its module, begins. Nothing is imported
        but the packages that it lies in.

        Raises:
            KeyError: nothing is called so.
        """
        module, _, attribute = self[name].partition(":")
        try:
            found = find_spec(module)
            tree = ast.parse(Path(found.origin).read_text(encoding="utf-8") if found and found.origin else "")
        except (ImportError, OSError, SyntaxError, ValueError):
            return f"cannot be found: {self[name]}"
        documented: ast.AST = tree
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
                documented = node
        text = ast.get_docstring(documented) if isinstance(documented, _DOCUMENTED) else None
        return (text or "").partition("\n\n")[0].replace("\n", " ")

    def is_own(self, name: str) -> bool:
        """Whether it comes with vqbench."""
        return name in self._own

    def unknown(self, name: str) -> ConfigError:
        """That nothing is called so, with near names."""
        return ConfigError(
            f"there is nothing called {name!r} among the {self.kind}{did_you_mean(name, self)}",
            expected=f"one of {', '.join(self)}",
        )


FORMATS = Registry(
    "formats",
    {
        "vqbench": "vqbench.data.formats.ours:Ours",
        "nemo": "vqbench.data.formats.nemo:Nemo",
        "lhotse": "vqbench.data.formats.lhotse:Lhotse",
        "audiofolder": "vqbench.data.formats.audiofolder:AudioFolder",
        "parquet": "vqbench.data.formats.parquet:Parquet",
        "coqui": "vqbench.data.formats.coqui:Coqui",
        "commonvoice": "vqbench.data.formats.commonvoice:CommonVoice",
        "paths": "vqbench.data.formats.piped:Paths",
        "ljspeech": "vqbench.data.formats.piped:LJSpeech",
        "kaldi": "vqbench.data.formats.kaldi:Kaldi",
        "vctk": "vqbench.data.formats.layouts:VCTK",
        "libritts": "vqbench.data.formats.layouts:LibriTTS",
        "folder": "vqbench.data.formats.layouts:PlainFolder",
    },
)
"""Manifests and folders as other tools make them, in the order in which they are asked whether they know a file."""

TOKENIZERS = Registry(
    "tokenizers",
    {
        "codec2": "vqbench.tokenizers.codec2:Codec2",
        "opus": "vqbench.tokenizers.opus:Opus",
    },
)
"""Tokenizers that a candidate names: a class whose `open` makes one of a suite's options and a device. VQVAEs are named
by their checkpoints or recipes, and programs by their commands."""

METRICS = Registry(
    "metrics",
    {
        "token_agreement": "vqbench.metrics.agreement",
        "likelihood": "vqbench.metrics.likelihood",
        "reconstruction": "vqbench.metrics.reconstruction:make_groups",
        "codebook": "vqbench.metrics.codebook:make_groups",
        "speech": "vqbench.metrics.copies:make_groups",
        "bitrate": "vqbench.metrics.bitrate:make_groups",
        "downstream": "vqbench.judges.words",
        "throughput": "vqbench.metrics.throughput",
    },
)
"""Groups of metrics: a callable that gives groups of a `vqbench.metrics.base.Context`. Those in `STAGED` are measured
otherwise than on what a candidate makes of the suite's recordings."""

STAGED = ("token_agreement", "likelihood", "downstream", "throughput")

JUDGES = Registry(
    "judges",
    {
        "clvp": "vqbench.teachers.tortoise.fit:SpeechFit",
        "mos": "vqbench.judges.ratings:SpeechRatings",
    },
)
"""Who may listen besides the ASR and the speaker encoder, to copies and to what a tuned teacher says: a
`vqbench.judges.protocol.NamedJudge`."""

TEACHERS = Registry(
    "teachers",
    {
        "pocket": "vqbench.teachers.pocket.assets:open_pocket",
        "tortoise": "vqbench.teachers.tortoise.folder:open_folder",
    },
)
"""Text-to-speech models that speak in codes: a callable that opens one, of the path as written and a device."""

CORPORA = Registry(
    "corpora",
    {
        "tortoise-voices": "vqbench.data.corpora:tortoise_voices",
        "pocket": "vqbench.data.corpora:pocket",
    },
)
"""Recordings that can be had by name: a callable that gives all its clips."""

KINDS: Mapping[str, Registry] = {one.kind: one for one in (TOKENIZERS, METRICS, JUDGES, TEACHERS, FORMATS, CORPORA)}
"""Kind → what there is of it."""
