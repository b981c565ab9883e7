"""Manifests and folders as other tools make them: one file a format, which tells whether it knows what it sees."""

FORMATS = {
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
}
"""Name → module:class, in the order in which they are asked. Importing this imports none of them."""
