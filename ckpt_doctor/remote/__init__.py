"""Places that are reached through fsspec: URLs as paths, their listings, and ranges of bytes. Nothing of fsspec is
imported before a URL is looked at."""

from ckpt_doctor.remote.faults import RemoteError, Replaced
from ckpt_doctor.remote.path import RemotePath, as_path, entries_of, is_url, local, told_apart, walk
from ckpt_doctor.remote.traffic import Traffic, take_traffic

__all__ = [
    "RemoteError",
    "RemotePath",
    "Replaced",
    "Traffic",
    "as_path",
    "entries_of",
    "is_url",
    "local",
    "take_traffic",
    "told_apart",
    "walk",
]
