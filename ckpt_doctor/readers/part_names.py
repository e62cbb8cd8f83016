"""Names that only parts of a checkpoint of several files have."""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from ckpt_doctor.inert.moments import PADDED, form_of, number_of, numbers_of

_INDEX = r"(?P<stem>.+)\.(?P<suffix>\w+)\.index(?:\.(?P<variant>[\w-]+))?\.json"
"""The index of a sharded model: transformers, `SAFE_WEIGHTS_INDEX_NAME`; with a variant as diffusers writes it."""
TRAINER_STATE = "trainer_state.json"
MEGATRON = "latest_checkpointed_iteration.txt"
MARKERS = (
    *("latest", "last_checkpoint", MEGATRON),
    *("latest.txt", "checkpoint.txt", "latest_universal", "last_checkpoint.rank_0"),
)
"""Text files that name a checkpoint: of DeepSpeed (`DeepSpeedEngine.save_checkpoint`); of detectron2 and mmengine; of
Megatron-LM (`get_checkpoint_tracker_filename`); of nanotron, of loops, DeepSpeed's universal folders and DINOv2."""
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
_COUNT = r"(.*/)?\w*(step|train\w*_state|running_state|progress|training_info)\w*\.json"
_OTHER_BINARY = (
    r"(openvino_|tokenizer|vocab|spiece|sentencepiece).*\.(bin|model)(\.v\d)?"
    r"|(.+_)?(train|val|valid|test)(_\d+)?\.bin|.+_(document|sentence)\.bin|(model|state)_\d{8}(_\d{1,5})?\.bin"
)
"""Files that have a checkpoint's suffix and are none, unless their content is one.

Of OpenVINO, SentencePiece and kin; token data of nanoGPT, llm.c and Megatron; the raw numbers that llm.c saves.
"""


def is_part_of_several(name: str) -> bool:
    """Whether a file's name is that of an index, of a marker or of a numbered shard."""
    return bool(index_of(name) or shard_of(name)) or is_marker(name)


def is_marker(name: str) -> bool:
    """Whether a text file of that name names a checkpoint; Composer puts a `.symlink` where it cannot make a link."""
    return name in MARKERS or name.endswith(".symlink")


def leads_nowhere(path: Path) -> bool:
    """Whether a link to the last checkpoint (`latest`, `latest-rank0.pt`, `last.ckpt`) leads to nothing."""
    if not path.name.startswith(("last", "latest")) or not path.is_symlink() or path.exists():
        return False
    return number_of(path.readlink().name) is not None  # others lead to a run, as Weights & Biases' does


def index_of(name: str) -> re.Match[str] | None:
    """The parts of the name of an index; None for any other."""
    return re.fullmatch(_INDEX, name) if name.endswith(".json") else None


def shard_of(name: str) -> re.Match[str] | None:
    """The parts of the name of a numbered shard; None for any other."""
    return re.fullmatch(_SHARD, name) if "-of-" in name else None


def is_count(name: str) -> bool:
    """Whether a JSON file in a folder of no known trainer says how far training was: `training_step.json`."""
    return re.fullmatch(_COUNT, name) is not None


def is_other_binary(name: str) -> bool:
    """Whether a name is that of a binary file which is no checkpoint."""
    return re.fullmatch(_OTHER_BINARY, name) is not None


def is_part_name(name: str) -> bool:
    """Whether a file of this name is read as a part of the checkpoint, whatever is in it."""
    if name in (TRAINER_STATE, "checkpoint") or is_marker(name) or index_of(name):
        return True
    suffix = Path(name).suffix.lower()
    return suffix in PART_SUFFIXES or (suffix == ".bin" and not is_other_binary(name))


SPEECHBRAIN = "CKPT.yaml"
"""In each folder that SpeechBrain's Checkpointer saves."""
SPEECHBRAIN_TEXT = r"(brain|counter|dataloader-.*)\.ckpt"
"""Its counts, which it writes as text under a checkpoint's suffix."""


def is_moment(folder: Path) -> bool:
    """Whether a folder's name says one moment of a run, by a word in it, or by its number.

    Numbers alone are steps where those beside it are multiples of one interval; seeds and folds are not. One by itself
    is a step where it ends with a zero. Of a folder behind a URL the others are not known.
    """
    number = number_of(folder.name)
    if number is None or not folder.name.isdecimal() or PADDED.fullmatch(folder.name):
        return number is not None
    try:
        alone = _numbered(str(folder.parent), folder.parent.stat().st_mtime_ns).get("#", ([], []))[1]
    except (OSError, NotImplementedError):
        alone = []
    return number > 0 and number % 10 == 0 if len(alone) < 2 else is_spaced([key[0] for key in alone])


def is_spaced(numbers: Sequence[int]) -> bool:
    """Whether numbers, in order, are multiples of one interval above 1; the last of them may be any."""
    first, *_ = gaps = {after - before for before, after in pairwise(numbers[:-1])} or {numbers[0]}
    return len(gaps) == 1 and first > 1 and numbers[0] > 0 and numbers[0] % first == 0


def beside(folder: Path) -> list[Path]:
    """The moments before and after the one of a folder, or the last two before it, by their names.

    None where nothing comes before it, or where the folders may not be listed."""
    is_one = number_of(folder.name) is not None
    try:
        listed = _numbered(str(folder.parent), folder.parent.stat().st_mtime_ns) if is_one else {}
    except OSError:
        return []
    alike, numbers = listed.get(form_of(folder.name), ([], []))
    own = numbers_of(folder.name)
    before = alike[: bisect_left(numbers, own)][-2:]
    after = alike[bisect_right(numbers, own) :][:1]
    return [folder.with_name(name) for name in (before[-1:] + after if after and before else before)]


@lru_cache(maxsize=16)
def _numbered(folder: str, _changed: int) -> dict[str, tuple[list[str], list[tuple[int, ...]]]]:
    """The names in a folder that say a moment by their form, in order, with what sorts them: each of them asks."""
    found: dict[str, list[tuple[tuple[int, ...], str]]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            if number_of(entry.name) is not None:
                found[form_of(entry.name)].append((numbers_of(entry.name), entry.name))
    pairs = {form: sorted(names) for form, names in found.items()}
    return {form: ([name for _, name in names], [key for key, _ in names]) for form, names in pairs.items()}
