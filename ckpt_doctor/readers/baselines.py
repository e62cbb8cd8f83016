"""Reads archives of Stable-Baselines3: settings and counts as JSON, and a file of `torch.save` for each part.

Layout: stable_baselines3/common/save_util.py, `save_to_zip_file`. The root has what is in the JSON, and each part under
its name: `num_timesteps`, `policy`, `policy.optimizer`.
"""

from __future__ import annotations

import base64
import binascii
from zlib import crc32

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.zip_structures import STORED, Directory
from ckpt_doctor.readers.assemble import Content
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.json_file import json_in
from ckpt_doctor.readers.payloads import file_programs
from ckpt_doctor.readers.programs import Programs, read_program
from ckpt_doctor.readers.safety import judge
from ckpt_doctor.readers.source import Slice
from ckpt_doctor.readers.zip_inside import archive_inside, take_tree
from ckpt_doctor.readers.zip_records import UNLIKE_ITS_CHECKSUM
from ckpt_doctor.types import A_COPY, Damage, NotChecked

VERSION = "_stable_baselines3_version"
_SETTINGS = "data"
_PICKLED = ":serialized:"
"""In the JSON, the key of a value that `json_to_data` unpickles."""
_BY_VALUE = "cloudpickle."
"""Functions are saved with their code: a schedule of rates, mostly."""
_MOST_PARTS = 64
_LOAD = "an archive of Stable-Baselines3"


def parts(view: FileView, directory: Directory, programs: Programs) -> Content:
    """What the parts of an archive hold, those that are stored as they are; never raises for their content."""
    content, root = Content("sb3-zip"), dict[str, object]()
    if view.far:
        content.not_checked.append(NotChecked("the model", f"{_LOAD}, which is remote", A_COPY))
        return content
    settings: object = None
    stored = [entry for entry in directory.entries if entry.data >= 0 and entry.method == STORED]
    if len(stored) < len(directory.entries) or len(stored) > _MOST_PARTS:
        why = f"{_LOAD}, in which some are compressed, or there are more than {_MOST_PARTS}"
        content.not_checked.append(NotChecked("its parts", why, "the archive as it was saved"))
    for entry in stored[:_MOST_PARTS]:
        name = entry.name.removesuffix(".pth")
        if name != entry.name:
            root[name] = archive_inside(view, entry.data, entry.size, name, content, programs)
        elif name == _SETTINGS:
            settings, damage = json_in(Slice(view, entry.data, entry.size))
            content.damage += [Damage("missing-record", f"loading raises: {one.message}", _SETTINGS) for one in damage]
            if settings is not None and crc32(view.read_at(entry.data, entry.size)) != entry.crc:
                content.damage.append(Damage("corrupt-record", UNLIKE_ITS_CHECKSUM, _SETTINGS))
        elif name == VERSION:
            root[name] = view.read_at(entry.data, min(entry.size, 64)).decode("latin-1").strip()
    if isinstance(settings, dict):
        root = {**settings, **root}
        _search(settings, content)
    take_tree(content, root)
    return content


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
