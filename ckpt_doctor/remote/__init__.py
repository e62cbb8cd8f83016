"""Places that are reached through fsspec: URLs as paths, their listings, and ranges of bytes. Nothing of fsspec is
imported before a URL is looked at."""

from ckpt_doctor.remote.excerpts import Excerpt, adopt, begin_call, excerpts_for, join_call
from ckpt_doctor.remote.faults import RemoteError, Replaced
from ckpt_doctor.remote.path import RemotePath, as_path, entries_of, fetching, is_url, local, spelled, told_apart, walk
from ckpt_doctor.remote.traffic import take_traffic
