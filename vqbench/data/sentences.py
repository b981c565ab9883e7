"""Plain English sentences that an ASR can spell, drawn from a small grammar.

They exist to be spoken by a synthesiser: everyday words, no names that have several spellings, no digits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

_PEOPLE = (
    "the old farmer, my younger brother, the night nurse, a tall stranger, her uncle, the village baker, our teacher, "
    "the ship's captain, a quiet child, the judge, their neighbor, the young queen, a tired soldier, the choir, "
    "his grandmother, the engineer, a travelling merchant, the gardener, two fishermen, the postman, our cousin, "
    "the first guest, a clever thief, the shepherd, every student, the new doctor, that painter, the boys, a few women"
).split(", ")
_VERBS = (
    "found, carried, watched, borrowed, forgot, painted, dropped, measured, noticed, followed, remembered, cleaned, "
    "bought, described, pushed, hid, chose, opened, repaired, admired, lifted, drew, examined, sold, welcomed, touched, "
    "washed, studied, broke, pulled, covered, moved, searched, enjoyed, took, gave away, asked about, looked at, fought over"
).split(", ")
_ADJECTIVES = (
    "small, heavy, golden, broken, strange, bright, wooden, narrow, ancient, purple, hollow, gentle, frozen, thick, "
    "yellow, smooth, rusty, square, enormous, warm, empty, crooked, silver, quiet, rough, thin, dusty, fresh, sharp, huge"
).split(", ")
_THINGS = (
    "box, kettle, bridge, garden, letter, lamp, window, horse, basket, river, mountain, coat, key, piano, chair, map, "
    "loaf of bread, fishing boat, umbrella, mirror, church, castle, yellow bird, path, stone, bell, engine, picture, "
    "book, glove, knife, ladder, orchard, shop, village, cottage, beach, cloud, valley, watch, jewel, pocket, shadow"
).split(", ")
_PLACES = (
    "near the harbor, behind the house, under the bridge, across the field, beside the fire, in the kitchen, by the sea, "
    "along the road, at the edge of the forest, over the hill, outside the theater, in a dark hall, on the roof, "
    "between the trees, within the walls, at school, around the corner, below the stairs, through the gate, on the island"
).split(", ")
_TIMES = (
    "on Monday, before breakfast, at midnight, last winter, after the storm, every Thursday, in the early morning, "
    "years ago, without a word, for the third time, during the long journey, just before sunset, in September, "
    "as usual, with great joy, while it rained, until the music stopped, with both hands, very slowly, once again"
).split(", ")
_CLAUSES = (
    "because the weather was changing, and nobody said anything, but it was already too late, so we all laughed, "
    "although the judge had warned us, which made the children happy, and then the noise began, "
    "since there was nothing else to do, while the others were asleep, if I remember it correctly, "
    "though few people believed the story, and the rest is history, unless you think otherwise"
).split(", ")
_OPENERS = (
    "I think, they say that, it seems, perhaps, we heard that, yesterday, in the end, to our surprise, usually, "
    "she told me that, of course, nevertheless, as far as I know, some years later"
).split(", ")


def sentences(seed: int) -> Iterator[str]:
    """Yields distinct sentences of some 6 to 20 words, the same ones for the same seed."""
    draw = random.Random(seed)
    seen: set[str] = set()
    while True:
        pick = draw.choice
        noun = f"the {pick(_ADJECTIVES)} {pick(_THINGS)}"
        core = f"{pick(_PEOPLE)} {pick(_VERBS)} {noun}"
        text = draw.choice(
            (
                f"{core} {pick(_PLACES)}",
                f"{core} {pick(_TIMES)}",
                f"{core} {pick(_PLACES)} {pick(_TIMES)}",
                f"{core}, {pick(_CLAUSES)}",
                f"{pick(_OPENERS)} {core} {pick(_TIMES)}",
                f"{pick(_OPENERS)} {core}, {pick(_CLAUSES)}",
                f"there was a {pick(_ADJECTIVES)} {pick(_THINGS)} {pick(_PLACES)}, {pick(_CLAUSES)}",
            )
        )
        if text not in seen:
            seen.add(text)
            yield text[0].upper() + text[1:] + "."
