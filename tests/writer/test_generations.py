"""Undo data of units is checked before it is followed, and never leads out of the unit."""

import json
import os
from pathlib import Path

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.writer import generations
from tests.writer.sample_units import NAME, contents, make_unit, place_of
from tests.writer.unit_faults import migrate

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_a_flipped_bit_in_a_record_is_never_followed(tmp_path):
    """Refused, or, where the bit means nothing, the very state from before."""
    unit = make_unit(tmp_path)
    original = contents(unit)
    migrate(unit)
    migrated, record = contents(unit), generations.record_at(place_of(unit))
    data = record.read_bytes()
    for at in range(0, len(data), 97):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        record.write_bytes(changed)
        try:
            writer.undo(unit)
        except WriteRefused:
            assert migrated == contents(unit), at
        else:
            assert original == contents(unit), at
            migrate(unit)
    record.write_bytes(data)
    writer.undo(unit)
    assert original == contents(unit)


def forged(unit: Path, change) -> None:
    """Change the record and sign it anew."""
    record = generations.record_at(place_of(unit))
    fields = json.loads(record.read_bytes())["generation"]
    change(fields)
    body = json.dumps(fields).encode()
    record.write_text(json.dumps({"format": 1, "sha256": generations.sha256([body]), "generation": fields}))


FORGED = {
    "a file outside": lambda f: f["before"].update({"../evil": f["before"]["model.bin"]}),
    "an absolute file": lambda f: f["before"].update({"/tmp/evil": f["before"]["model.bin"]}),
    "a file below a link": lambda f: f["before"].update({"link/evil": f["before"]["model.bin"]}),
    "kept outside": lambda f: f["kept"].update({"optimizer.pt": "../../../victim"}),
    "no folder": lambda f: f["before"].pop(""),
    "a folder that is a file": lambda f: f["before"][""].update(kind="file"),
    "a negative mode": lambda f: f["before"][""].update(mode=-1),
    "a text as a size": lambda f: f["before"]["model.bin"].update(size="1"),
    "another kind": lambda f: f["before"]["model.bin"].update(kind="pipe"),
    "more fields": lambda f: f.update(more=1),
    "a list of entries": lambda f: f.update(before=[]),
    "no kept parts": lambda f: f.update(kept={}),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_record_makes_nothing_outside(kind, tmp_path):
    unit = make_unit(tmp_path)
    (tmp_path / "victim").write_text("mine")
    migrate(unit)
    forged(unit, FORGED[kind])
    before = contents(tmp_path)
    with pytest.raises(WriteRefused):
        writer.undo(unit)
    assert before == contents(tmp_path)


STORES = {
    "link": lambda path, run: path.symlink_to(run / "victim"),
    "dangling link": lambda path, run: path.symlink_to("nowhere"),
    "file": lambda path, run: path.touch(),
    "pipe": lambda path, run: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("below", ["", NAME, f"{NAME}/new", f"{NAME}/removing", f"{NAME}/1"])
def test_what_has_a_name_of_ours_and_is_none_is_neither_followed_nor_removed(kind, below, tmp_path):
    unit = make_unit(tmp_path)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("mine")
    path = tmp_path / names.STORE / below
    path.parent.mkdir(parents=True, exist_ok=True)
    STORES[kind](path, tmp_path)
    before = contents(tmp_path)
    for act in (migrate, writer.undo):
        with pytest.raises(WriteRefused, match=path.name):
            act(unit)
    assert before == contents(tmp_path)
