"""What can be had by name: one table a kind, from a name to `module:object`, so that nothing is imported unasked.

A line here, or an entry point of another package in the group `vqbench.KIND`, makes a thing known everywhere: suites
accept its name, errors suggest it, and `vqbench list KIND` shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module, metadata
from typing import Any

from vqbench.errors import ConfigError, did_you_mean


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

    def unknown(self, name: str, where: str | None = None) -> ConfigError:
        """That nothing is called so, with near names."""
        return ConfigError(
            f"there is nothing called {name!r} among the {self.kind}{did_you_mean(name, self)}",
            where=where,
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
