"""Names that only parts of a checkpoint of several files have."""

from __future__ import annotations

import re
from pathlib import Path

_INDEX = r"(?P<stem>.+)\.(?P<suffix>\w+)\.index(?:\.(?P<variant>[\w-]+))?\.json"
"""The index of a sharded model: transformers, `SAFE_WEIGHTS_INDEX_NAME`; with a variant as diffusers writes it."""
MARKERS = ("latest", "last_checkpoint")
"""Text files that name a checkpoint: of DeepSpeed (`DeepSpeedEngine.save_checkpoint`); of detectron2 and mmengine."""
PART_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".safetensors", ".distcp", ".pkl", ".pickle", ".th", ".t7", ".ptl"})
"""Suffixes that only checkpoints and their parts have."""
OTHER_SUFFIXES = frozenset(
    {
        *(".json", ".jsonl", ".txt", ".md", ".log", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".xml"),
        *(".py", ".sh", ".ipynb", ".html", ".css", ".js", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf"),
        *(".wav", ".mp3", ".flac", ".mp4", ".npy", ".npz", ".parquet", ".arrow", ".gz", ".zst", ".tfrecord", ".lock"),
    }
)
"""Of files that a bucket may hold by the million, and that are not opened there."""
_SHARD = r"(?P<stem>.+)-(?P<number>\d{1,5})-of-(?P<count>\d{1,5})(?P<variant>\.[\w-]+)?\.(?P<suffix>\w+)"
PIECES = r"shard-(?P<rank>\d{5})-(?P<name>model-\d{5}-of-\d{5}\.safetensors)"
"""A process's pieces of a model's tensors: torch/distributed/checkpoint/_hf_utils.py, `_gen_file_name`."""
_OTHER_BINARY = (
    r"(openvino_|tokenizer|vocab|spiece|sentencepiece).*\.(bin|model)(\.v\d)?"
    r"|(.+_)?(train|val|valid|test)(_\d+)?\.bin|.+_(document|sentence)\.bin|(model|state)_\d{8}(_\d{1,5})?\.bin"
)
"""Files that have a checkpoint's suffix and are none, unless their content is one.

Of OpenVINO, SentencePiece and kin; token data of nanoGPT, llm.c and Megatron; the raw numbers that llm.c saves.
"""


def is_part_of_several(path: Path) -> bool:
    """Whether a path may name several files: a folder, an index or a marker, a numbered shard."""
    name = path.name
    return bool(index_of(name) or shard_of(name)) or name in MARKERS or path.is_dir()


def index_of(name: str) -> re.Match[str] | None:
    """The parts of the name of an index; None for any other."""
    return re.fullmatch(_INDEX, name) if name.endswith(".json") else None


def shard_of(name: str) -> re.Match[str] | None:
    """The parts of the name of a numbered shard; None for any other."""
    return re.fullmatch(_SHARD, name) if "-of-" in name else None


def is_other_binary(name: str) -> bool:
    """Whether a name is that of a binary file which is no checkpoint."""
    return re.fullmatch(_OTHER_BINARY, name) is not None


SPEECHBRAIN = "CKPT.yaml"
"""In each folder that SpeechBrain's Checkpointer saves."""
SPEECHBRAIN_TEXT = r"(brain|counter|dataloader-.*)\.ckpt"
"""Its counts, which it writes as text under a checkpoint's suffix."""
