"""Reads every byte of a checkpoint once: stored checksums, and NaN or infinite numbers in its tensors.

PyTorch writes a CRC-32 for each record and never compares it (`MINIZ_DISABLE_ZIP_READER_CRC32_CHECKS`), so it loads a
flipped bit in a tensor silently.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from itertools import chain, islice

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.quantized_weights import quantized_values
from ckpt_doctor.inert.shapes import is_weight
from ckpt_doctor.inert.units import parts_of
from ckpt_doctor.readers.checksums import combined
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.non_finite import StorageScan
from ckpt_doctor.readers.regions import CHUNK, Region, chunks, regions_of
from ckpt_doctor.readers.tensor_bytes import byte_order
from ckpt_doctor.readers.unwritten import Stretch, never_written, zero_blocks
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.readers.zip_records import DESCRIPTION_CHANGED, UNLIKE_ITS_CHECKSUM
from ckpt_doctor.threads import in_threads
from ckpt_doctor.types import Checkpoint, Damage, DeepResult, NotChecked, TensorInfo, mapping_of, path_name
from ckpt_doctor.types.record import record

try:  # seven times as fast, where it comes built
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

_WORTH_THREADS = 1 << 24
"""Bytes of a file from which on more than one thread reads it."""
_MOST_NAMES = 12
"""Tensors of one record that a message names."""
_MOST_THREADS = 8
"""More threads do not help: the memory is the limit. Each thread has a buffer."""
_NOTES = ("version", ".format_version", ".storage_alignment", "serialization_id")
"""How records end on which no value depends that torch.load gives: what it refuses in them, reading has seen."""

Progress = Callable[[int], None]
"""Called with the number of bytes read since the last call; from several threads, never at the same time."""


def deep_check(checkpoint: Checkpoint, progress: Progress | None = None) -> Checkpoint:
    """The checkpoint with `deep` filled: corrupt records, non-finite tensors, and what could not be checked.

    Memory stays below a few megabytes whatever the file holds. A file that changed since `checkpoint` was read is not
    judged: `deep.not_checked` says so. Of a checkpoint of several files each part is read, and `deep` of the whole
    holds what all of them showed, by the paths of the whole.
    """
    if checkpoint.parts:
        parts = tuple(deep_check(part, progress) for part in checkpoint.parts)
        whole = replace(checkpoint, parts=parts)
        return replace(whole, deep=_merged(whole))
    try:
        with open_view(checkpoint.path) as view:
            if checkpoint.stamp is not None and view.stamp != checkpoint.stamp:
                return replace(checkpoint, deep=_nothing("the file changed since its metadata was read"))
            return replace(checkpoint, deep=_check(view, checkpoint, progress))
    except OSError as error:
        return replace(checkpoint, deep=_nothing(f"the system refuses to read the file: {error.strerror or error}"))


def _nothing(why: str) -> DeepResult:
    return DeepResult(not_checked=(NotChecked("stored checksums and NaN", why, "run it again"),))


def _merged(unit: Checkpoint) -> DeepResult:
    """What reading all parts of a checkpoint showed."""
    non_finite: dict[str, int] = {}
    nan: dict[str, int] = {}
    damage: list[Damage] = []
    lost: set[str] = set()
    not_checked: dict[NotChecked, None] = {}
    for name, (path, part) in zip(mapping_of(unit.root) or (), parts_of(unit), strict=True):
        deep = part.deep or DeepResult()
        before = f"{path_name(path)}." if path else ""
        non_finite |= {before + tensor: count for tensor, count in deep.non_finite.items()}
        nan |= {before + tensor: count for tensor, count in deep.nan.items()}
        damage += [
            replace(d, message=f"{shown(name)}: {d.message}", where=f"{shown(name)}: {d.where}") for d in deep.damage
        ]
        lost |= {f"{name}/{key}" for key in deep.lost}
        not_checked |= dict.fromkeys(deep.not_checked)
    read = sum(part.deep.bytes_read for part in unit.parts if part.deep is not None)
    return DeepResult(tuple(damage), non_finite, nan, frozenset(lost), tuple(not_checked), read)


@record(frozen=True)
class _Seen:
    """What reading one region, or a piece of one, showed."""

    region: Region
    read: int
    length: int = 0
    """Bytes of content."""
    crc: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Tensor name -> non-finite numbers."""
    nan: Mapping[str, int] = field(default_factory=dict)
    corrupt: bool = False
    failed: Damage | None = None
    zeros: Sequence[Stretch] = ()
    """Where nothing but zeros are, if there is no checksum."""


def _check(view: FileView, checkpoint: Checkpoint, progress: Progress | None) -> DeepResult:
    regions = regions_of(view, checkpoint)
    by_key: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in (*checkpoint.tensors, *checkpoint.inner):
        if tensor.storage.key:  # others have no bytes in the file
            by_key[tensor.storage.key].append(tensor)
    bound = limits.MAX_RECORD_RATIO * view.size
    large = [region for region in regions if region.size > bound]
    regions = [region for region in regions if region.size <= bound]
    # 4-bit codes may be stored as floats (`bnb_4bit_quant_storage`): their bits are not numbers
    codes = {path for path, values in quantized_values(chain.from_iterable(by_key.values())).items() if values}
    numbers = {key: [tensor for tensor in held if tensor.path not in codes] for key, held in by_key.items()}
    examine = partial(_examine, view, numbers, byte_order(checkpoint) == ">", _one_by_one(progress))
    cut = [list(region.pieces()) for region in regions]
    parts = list(chain.from_iterable(cut))
    pieces = iter(_one_after_another(examine, parts) if view.far else _in_parallel(examine, parts))
    whole = [_joined(region, list(islice(pieces, len(cuts)))) for region, cuts in zip(regions, cut, strict=True)]
    seen = sorted(whole, key=lambda one: (one.region.offset, one.region.name))
    non_finite: Counter[str] = Counter()
    nan: Counter[str] = Counter()
    for one in seen:
        non_finite.update(one.counts)
        nan.update(one.nan)
    damage = [one.failed for one in seen if one.failed is not None]
    known = {(one.kind, one.where) for one in checkpoint.damage}  # the description's checksum is compared without this
    found = _corrupt([one.region for one in seen if one.corrupt], checkpoint, by_key)
    damage += [one for one in found if (one.kind, one.where) not in known]
    lost = {one.region.key for one in seen if one.region.key and _is_lost(one, by_key)}
    bare = [one.region for one in seen if one.region.crc is None and not one.region.deflated]
    for hole, keys in never_written(view, bare, chain.from_iterable(one.zeros for one in seen), by_key):
        damage.append(hole)
        lost |= keys
    read = sum(one.read for one in seen)
    view.bytes_read += read
    notes = _not_checked(checkpoint, regions, large)
    return DeepResult(tuple(damage), dict(non_finite), dict(nan), frozenset(lost), notes, read)


def _joined(region: Region, pieces: Sequence[_Seen]) -> _Seen:
    """What a region's pieces showed together."""
    counts: Counter[str] = Counter()
    nan: Counter[str] = Counter()
    read = length = crc = 0
    for piece in pieces:
        read += piece.read
        if piece.failed is not None:
            return _Seen(region, read, failed=piece.failed)
        counts.update(piece.counts)
        nan.update(piece.nan)
        crc = combined(crc, piece.crc, piece.length) if length else piece.crc
        length += piece.length
    broken = any(piece.corrupt for piece in pieces)
    corrupt = broken or (region.crc is not None and (crc != region.crc or length != region.size))
    zeros = tuple(chain.from_iterable(piece.zeros for piece in pieces))
    return _Seen(region, read, length, crc, counts, nan, corrupt, zeros=zeros)


def _is_lost(seen: _Seen, by_key: Mapping[str, Sequence[TensorInfo]]) -> bool:
    sizes = {tensor.storage.nbytes for tensor in by_key.get(seen.region.key or "", ())}
    return seen.corrupt or seen.failed is not None or (bool(sizes) and seen.region.size not in sizes)


def _one_by_one(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    lock = threading.Lock()

    def report(count: int) -> None:
        with lock:
            progress(count)

    return report


def _one_after_another(examine: Callable[[Region, memoryview], _Seen], regions: Sequence[Region]) -> list[_Seen]:
    """Every region examined in the order of the file: one request reads several small ones that follow each other."""
    buffer = memoryview(bytearray(CHUNK))
    return [examine(region, buffer) for region in regions]


def _in_parallel(examine: Callable[[Region, memoryview], _Seen], regions: Sequence[Region]) -> list[_Seen]:
    """Every region examined, by several threads where that pays: reading, checksum and scan release the interpreter."""
    many = sum(region.length for region in regions) >= _WORTH_THREADS
    most = min(os.cpu_count() or 1, _MOST_THREADS) if many else 1
    buffers = [memoryview(bytearray(CHUNK)) for _ in range(most)]

    def work(region: Region) -> _Seen:
        buffer = buffers.pop()
        try:
            return examine(region, buffer)
        finally:
            buffers.append(buffer)

    return in_threads(work, regions, most)


def _examine(
    view: FileView,
    numbers: Mapping[str, Sequence[TensorInfo]],
    big_endian: bool,
    progress: Progress | None,
    region: Region,
    buffer: memoryview,
) -> _Seen:
    scan = StorageScan(numbers.get(region.key or "", []), big_endian, region.begin)
    crc = length = read = 0
    bare = region.crc is None and not region.deflated
    zeros: list[Stretch] = []
    try:
        for chunk, consumed in chunks(view, region, buffer):
            crc = crc32(chunk, crc) if region.crc is not None else 0
            scan.feed(chunk)
            if bare:
                zeros += zero_blocks(chunk, region.offset + length)
            length += len(chunk)
            read += consumed
            if progress is not None:
                progress(consumed)
    except OSError as error:
        where = f"{shown(region.name)}, byte {region.offset + length}"
        message = f"the system cannot read the record: {error.strerror or error}"
        return _Seen(region, read, failed=Damage("unreadable-file", message, where))
    except zlib.error:
        return _Seen(region, read, corrupt=True)
    scan.finish()
    return _Seen(region, read, length, crc, scan.counts, scan.nan, zeros=zeros)


def _not_checked(checkpoint: Checkpoint, regions: Sequence[Region], large: Sequence[Region]) -> tuple[NotChecked, ...]:
    notes = []
    if large:
        why = f"{len(large):,} records inflate to more than {limits.MAX_RECORD_RATIO} times the size of the file"
        notes.append(NotChecked("what compressed records hold", why, "load the file and save it with torch.save"))
    if checkpoint.container in ("torch-zip", "torchscript", "distcp", "sb3-zip", "nemo-tar"):
        without = sum(region.crc is None for region in regions)
        if without and checkpoint.metadata.get("checksums") == "none":
            why = "the file was written without them (torch.serialization.set_crc32_options(False))"
            notes.append(NotChecked("stored checksums", why, "save with checksums"))
        elif without:
            why = f"the end of the archive is missing, and with it the checksums of {without:,} records"
            notes.append(NotChecked("stored checksums", why, "the whole file"))
    elif checkpoint.tensors:
        why = f"a {checkpoint.container} file holds no checksums: a flipped bit cannot be told from a trained weight"
        notes.append(NotChecked("stored checksums", why, "torch.save of a current PyTorch writes them"))
    inflated = {region.key for region in (*regions, *large) if region.deflated}
    unplaced = sum(
        tensor.storage.offset is None and tensor.storage.nbytes > 0 and tensor.storage.key not in inflated
        for tensor in (*checkpoint.tensors, *checkpoint.inner)
    )
    if unplaced:
        why = f"the bytes of {unplaced:,} tensors were not found in the file"
        notes.append(NotChecked("NaN and infinite values", why, "a complete file"))
    return tuple(notes)


def _corrupt(
    corrupt: Sequence[Region], checkpoint: Checkpoint, by_key: dict[str, list[TensorInfo]]
) -> Iterator[Damage]:
    """One finding per bad record, with its tensors, and what can still be used of the file."""
    hit = [tensor for region in corrupt for tensor in by_key.get(region.key or "", [])]
    rest = _still_good_for(checkpoint, corrupt, hit)
    if len(corrupt) > 1:
        rest += ". Several corrupt records usually mean that several processes saved to this path at the same time"
    for region in corrupt[: limits.MAX_DAMAGE]:
        names = [tensor.name for tensor in by_key.get(region.key or "", [])]
        what = f"tensor{'s' if len(names) > 1 else ''} {shown(', '.join(names[:_MOST_NAMES]))}" if names else ""
        what += f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        record_name = _record_of(region)
        is_note = record_name.endswith(_NOTES)
        what = what or f"the record {shown(record_name)}"
        message = f"{UNLIKE_ITS_CHECKSUM}: {what} {'is' if len(names) < 2 else 'are'} not what was saved"
        message = DESCRIPTION_CHANGED if record_name.endswith(".pkl") else message
        kind, rest_of_it = ("corrupt-note", ". No tensor depends on it") if is_note else ("corrupt-record", rest)
        yield Damage(kind, message + rest_of_it, shown(region.name))
    if len(corrupt) > limits.MAX_DAMAGE:
        yield Damage("corrupt-record", f"{len(corrupt) - limits.MAX_DAMAGE:,} more records are corrupt")


def _record_of(region: Region) -> str:
    """The name of a region's record; in a file of several archives each of them has one of that name."""
    return region.name.partition(" at byte ")[0]


def _still_good_for(checkpoint: Checkpoint, corrupt: Sequence[Region], hit: Sequence[TensorInfo]) -> str:
    if any(_record_of(region).endswith(".pkl") for region in corrupt):
        return ""
    if checkpoint.layout == "training" and hit and not any(is_weight(checkpoint, tensor.path) for tensor in hit):
        return ". The model's weights are intact: the file still serves as weights"
    if not hit:
        return ". No tensor is affected"
    touched = {tensor.path[:length] for tensor in hit for length in range(1, len(tensor.path) + 1)}
    whole = sum(tensor.path not in touched for tensor in checkpoint.tensors)
    if not whole:
        return ". No other tensor is there"
    return f". The other {whole:,} of {len(checkpoint.tensors):,} tensors are intact"
