"""Ranges of S3's objects, through the session of s3fs, each of the object that was listed. s3fs itself gives bytes of
whatever is there now, and reads the whole object where a store takes no notice of ranges."""

from __future__ import annotations

from typing import Any

from ckpt_doctor.remote.entries import Entry
from ckpt_doctor.remote.faults import RemoteError, Replaced
from ckpt_doctor.remote.http import WITHOUT_RANGES


async def get_range(fs: Any, name: str, entry: Entry, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`. Raises exceptions of botocore, and `RemoteError` for an answer that is wrong."""
    bucket, key, version = fs.split_path(name)
    tag, wanted = entry.info["ETag"], f"bytes {start}-{end - 1}/{entry.size}"
    asked = {"Range": f"bytes={start}-{end - 1}", "IfMatch": tag, **fs.req_kw}
    if version:
        asked["VersionId"] = version
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, **asked)
    try:
        if answer.get("ETag", tag).removeprefix("W/") != tag.removeprefix("W/"):  # a proxy may make it a weak one
            raise Replaced
        if "ContentRange" not in answer and answer["ContentLength"] != end - start:
            raise RemoteError(WITHOUT_RANGES)
        if answer.get("ContentRange", wanted) != wanted:
            raise RemoteError("the store gives another part of the object than it was asked for")
        return bytes(await answer["Body"].read())
    finally:
        answer["Body"].close()
