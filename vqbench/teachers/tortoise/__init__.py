"""TorToiSe: text and a voice become tokens, tokens a waveform."""
