"""Waveforms, the mel front end, and the way back."""
