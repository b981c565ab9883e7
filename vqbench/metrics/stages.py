"""What of a tokenizer is timed; apart from the timing itself, so that naming it needs no torch."""

STAGES = ("mel", "encode", "quantize", "decode", "end_to_end")
"""In the order of the signal: waveform → mel → latents → codes → mel; `end_to_end` is all of it."""

WAVEFORM_STAGES = ("encode", "decode", "end_to_end")
"""Of a tokenizer of waveforms, which alone knows what lies between; of one that only encodes, the first alone."""


def timed_group(stage: str, batch_size: int) -> str:
    """The group of the rows of one stage at one batch size.

    >>> timed_group("encode", 8)
    'throughput.encode.b8'
    """
    return f"throughput.{stage}.b{batch_size}"
