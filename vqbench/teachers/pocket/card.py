"""The card of a pocket TorToiSe: what it is made of, and what it can do. Read without torch, in milliseconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqbench.errors import CheckpointError, VqbenchError, raise_all
from vqbench.files import write_text

SHIPPED = Path(__file__).parent / "data"
"""Where the built pocket TorToiSe lies in the package."""

CARD_FILE = "card.json"

FORMAT = 1
"""Of the card; raised when older code could no longer read it."""

PARTS = ("vqvae", "gpt", "clvp", "diffusion")
"""The networks, each in a file of its name."""

_KEYS: Mapping[str, type] = {
    "name": str,
    "plan": str,
    "source": str,
    "parts": dict,
    "bytes": int,
    "settings": dict,
    "corpus": dict,
    "licence": str,
    "figures": dict,
    "judges": dict,
}


def load_card(folder: Path = SHIPPED) -> dict[str, Any]:
    """Reads a card: parts with sizes and digests, settings, corpus, licence, and the figures. Needs no weights.

    Args:
        folder: of a pocket TorToiSe.

    Raises:
        CheckpointError: there is none in the folder, or its card is not of this format.
    """
    path = folder / CARD_FILE
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        is_ours = folder == SHIPPED
        raise CheckpointError(
            "this vqbench was shipped no pocket TorToiSe" if is_ours else "there is no pocket TorToiSe in this folder",
            where=str(folder),
            expected=f"a {CARD_FILE} and the weights that it names",
            fix=("install a release of vqbench, or " if is_ours else "")
            + "make one with `vqbench pocket build`; it will lie in the folder `package` of the build",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the card cannot be read ({error})", where=str(path)) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError("the card has another format", where=str(path), expected=f"format {FORMAT}")
    missing = [key for key in _KEYS if key not in card]
    if missing:
        raise CheckpointError(f"the card lacks {', '.join(missing)}", where=str(path))
    wrong = [key for key, kind in _KEYS.items() if not isinstance(card[key], kind)]
    if wrong:
        raise CheckpointError(f"the card's {', '.join(wrong)} cannot be read", where=str(path))
    if set(card["parts"]) != set(PARTS) or not all(_is_part(name, part) for name, part in card["parts"].items()):
        expected = f"{', '.join(PARTS)}, each with its file, sha256 and bytes"
        raise CheckpointError("the card's parts are not a pocket TorToiSe's", where=str(path), expected=expected)
    return card


def _is_part(name: str, part: object) -> bool:
    return (
        isinstance(part, dict)
        and part.get("file") == f"{name}.safetensors"
        and isinstance(part.get("sha256"), str)
        and isinstance(part.get("bytes"), int)
        and isinstance(part.get("numbers"), int)
    )


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Writes the card, readable by people."""
    content = {"format": FORMAT, **card}
    write_text(folder / CARD_FILE, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_parts(card: Mapping[str, Any], folder: Path = SHIPPED) -> None:
    """Compares the weights of a pocket TorToiSe with the digests on its card.

    Raises:
        CheckpointError: a file is missing, or is not the one that the card names (several: ManyErrors).
    """
    faults: list[VqbenchError] = []
    for name, part in card["parts"].items():
        path = folder / part["file"]
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none, the file is missing"
        if found != part["sha256"]:
            faults.append(
                CheckpointError(
                    f"the {name} weights are not the ones that the card names: sha256 {found}",
                    where=str(path),
                    expected=f"sha256 {part['sha256']}",
                    fix="reinstall vqbench" if folder == SHIPPED else "build it anew",
                )
            )
    raise_all(faults)
