"""Reads archives of Stable-Baselines3: settings and counts as JSON, and a file of `torch.save` for each part.

Layout: stable_baselines3/common/save_util.py, `save_to_zip_file`. The root has what is in the JSON, and each part under
its name: `num_timesteps`, `policy`, `policy.optimizer`.
"""

from __future__ import annotations

import base64
import binascii

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.inert.zip_structures import STORED, Directory, DirectoryError, Entry
from ckpt_doctor.readers.assemble import Content
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.json_file import json_in
from ckpt_doctor.readers.payloads import file_programs
from ckpt_doctor.readers.programs import Programs, read_program
from ckpt_doctor.readers.safety import judge
from ckpt_doctor.readers.source import Slice
from ckpt_doctor.readers.zip_directory import archive_prefix, read_directory
from ckpt_doctor.readers.zip_records import missing, record
from ckpt_doctor.types import A_COPY, Damage, NotChecked

_SETTINGS = "data"
_PICKLED = ":serialized:"
"""In the JSON, the key of a value that `json_to_data` unpickles."""
_BY_VALUE = "cloudpickle."
"""Functions are saved with their code: a schedule of rates, mostly."""
_LOAD = "an archive of Stable-Baselines3"


def parts(view: FileView, directory: Directory, programs: Programs) -> Content:
    """What the parts of an archive hold, those that are stored as they are; never raises for their content."""
    content, root = Content("sb3-zip"), dict[str, object]()
    if view.far:
        content.not_checked.append(NotChecked("the model", f"{_LOAD}, which is remote", A_COPY))
        return content
    settings: object = None
    for entry in directory.entries:
        if entry.data < 0 or entry.method != STORED:
            why = f"{_LOAD}, in which {shown(entry.name)} is compressed"
            content.not_checked.append(NotChecked("a part", why, "the archive as it was saved"))
        elif entry.name.endswith(".pth"):
            root[entry.name.removesuffix(".pth")] = _part(view, entry, content, programs)
        elif entry.name == _SETTINGS:
            settings, damage = json_in(Slice(view, entry.data, entry.size))
            content.damage += [Damage("missing-record", f"loading raises: {one.message}", _SETTINGS) for one in damage]
        elif not entry.name.endswith(".txt"):
            root[entry.name] = record(view, entry, []).decode("latin-1").strip()[:64] if entry.size < 64 else None
    if isinstance(settings, dict):
        root = {**settings, **root}
        _search(settings, content)
    content.root = root
    content.tensors, content.inner, damage = find_tensors(root)
    content.damage += damage
    return content


def _part(view: FileView, part: Entry, content: Content, programs: Programs) -> object:
    """What a file of `torch.save` in the archive holds; its storages are where they are in the archive."""
    source, name = Slice(view, part.data, part.size), part.name.removesuffix(".pth")
    try:
        directory = read_directory(source.read_at, source.size)
    except DirectoryError as error:
        message = f"it is cut off, or no archive of torch.save ({error}); loading raises"
        content.damage.append(Damage("missing-record", message, shown(part.name)))
        return None
    prefix = archive_prefix(directory)
    content.damage += directory.damage
    main = next((entry for entry in directory.entries if entry.name == f"{prefix}data.pkl"), None)
    if main is None or prefix is None:
        content.damage.append(Damage("missing-record", "it has no data.pkl; loading raises", shown(part.name)))
        return None
    folder = f"{prefix}data/"
    data = {
        f"{name}/{entry.name.removeprefix(folder)}": entry
        for entry in directory.entries
        if entry.name.startswith(folder)
    }
    offsets = {key: part.data + entry.data for key, entry in data.items() if entry.method == STORED and entry.data >= 0}
    storages = torch_storage(offsets, f"{name}/", sizes={key: entry.size for key, entry in data.items()}, only=True)
    reading = read_program(programs, record(source, main, content.damage), 0, storages, shown(part.name))
    content.damage += missing(reading, data, "")
    if any(entry.crc for entry in data.values()):
        content.checksums |= {key: entry.crc for key, entry in data.items()}
    return reading.root


def _search(settings: dict[str, object], content: Content) -> None:
    """The pickles in the JSON: one that is dangerous, and of how many only the script knows what they run."""
    by_value = 0
    for key, value in settings.items():
        text = value.get(_PICKLED) if isinstance(value, dict) else None
        if not isinstance(text, str):
            continue
        try:
            data = base64.b64decode(text)
        except (binascii.Error, ValueError):
            content.damage.append(Damage("malformed-pickle", "it is not in base64; loading raises", shown(key)))
            continue
        programs = file_programs()
        read_program(programs, data, 0, None, f"{_SETTINGS}: {shown(key)}")
        names = [name for name in programs.globals.values() if judge(name) == "dangerous"]
        by_value += any(str(name).startswith(_BY_VALUE) for name in names)
        for name in names:
            if not str(name).startswith(_BY_VALUE):
                content.damage.append(
                    Damage(
                        "dangerous-global",
                        f"loading the file would call or import {shown(name)}, which no checkpoint needs",
                        f"{_SETTINGS}: {shown(key)}",
                        shown(name),
                    )
                )
    if by_value:
        why = f"{by_value:,} of them are functions with their code (cloudpickle), which loading runs"
        content.not_checked.append(NotChecked("what its settings run", why, "custom_objects= of load()"))
