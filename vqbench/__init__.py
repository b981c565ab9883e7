"""Benchmarks VQVAE speech tokenizers, compares them, and gates their releases."""
