"""What loading a pickle calls: by opcode and by a list of exact names, whatever is installed here."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import ipaddress
import itertools
import logging
import pathlib
import pickle
import random
import re
import types
import typing
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint
from torch import nn

from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import (
    COMMAND,
    INNER,
    alarms,
    attributes,
    call,
    dangerous,
    instance,
    name,
    text,
    with_program,
)
from tests.readers.torch_files import rezip, save


class Level(enum.Enum):
    """A project's own enum."""

    HIGH = 1


R = np.random
PLAIN = [
    datetime.datetime.now(datetime.timezone.utc),
    datetime.date.today(),
    datetime.timezone(datetime.timedelta(hours=2)),
    [decimal.Decimal("1.5"), fractions.Fraction(1, 3), 1j, range(3), slice(1, 2), bytearray(b"x"), b"", frozenset([1])],
    [Path("a"), pathlib.PureWindowsPath("x"), uuid.uuid4(), re.compile("x", re.I), logging.getLogger("a")],
    [ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.0.0.1/8")],
    [collections.Counter("ab"), collections.deque([Level], 3), collections.defaultdict(list, a=[1])],
    [collections.ChainMap({}), collections.UserDict(a=1), types.SimpleNamespace(a=len), type(None), Ellipsis],
    [ValueError("x"), OSError(2, "x"), KeyError(Level.HIGH), {Level.HIGH}, array.array("d", [1.0]), random.Random(1)],
    [typing.Optional[typing.Dict[str, typing.Any]], typing.List[int], list[int]],  # noqa: UP006, UP045
    [np.float64(1), np.bool_(1), np.datetime64("2020"), np.str_("a"), np.void(b"x"), np.dtype([("a", "i4")])],
    [np.arange(3), np.arange(6).reshape(2, 3).T, np.array([None, 1], object), np.array("2020", "M8[D]")],
    [np.ma.array([1], mask=[0]), np.recarray((1,), [("a", "i4")]), np.matrix([1]), np.array(["a"]), np.add],
    [itertools.count(5, 2), itertools.repeat(1), itertools.repeat(1, 2**31), range(2**40), bytearray(5)],
    [decimal.Decimal("1e9999"), fractions.Fraction(10**40, 3), functools.partial(len, range(9))],
    [R.RandomState(1), R.default_rng(1), R.SFC64(1), R.Philox(1), R.PCG64DXSM(1), R.SeedSequence(1), R.get_state()],
]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_python_and_numpy_is_no_foreign_call(tmp_path, protocol):
    """Each value alone, in every protocol that can write it; enums are the one thing that another package calls."""
    for value in PLAIN:
        raw = pickle.dumps(value, protocol)
        (tmp_path / "a.pkl").write_bytes(raw)
        own = [message for message in alarms(tmp_path / "a.pkl") if f"{__name__}.Level" not in message]
        assert [] == own, value


def modules() -> Iterator[nn.Module]:
    """One of each of torch.nn's modules that numbers make."""
    for kind in vars(nn).values():
        if inspect.isclass(kind) and issubclass(kind, nn.Module):
            for arguments in ((), (3,), (3, 3), (3, 3, 3), (4, 2, 1), ([2, 2],)):
                try:
                    yield kind(*arguments)
                except (TypeError, ValueError, AssertionError):
                    continue
                break


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_modules_are_no_foreign_calls(tmp_path, zipped):
    """Hooks that are methods of instances, functions in attributes, packed tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [nn.LazyLinear(2), nn.LSTM(2, 2), nn.TransformerEncoderLayer(4, 2), nn.Sequential(nn.Linear(1, 1))]
        assert [] == alarms(save(tmp_path / "a", made, zipped))


@pytest.mark.long
@pytest.mark.parametrize("zipped", [True, False])
def test_every_module_of_torch_is_no_foreign_call(tmp_path, zipped):
    """All of torch.nn that numbers make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = list(modules())
        assert len(made) > 120
        assert [] == alarms(save(tmp_path / "a", made, zipped))


def test_other_objects_of_torch_are_no_foreign_calls(tmp_path):
    """Optimizers, schedulers, scalers, generators, tensors of every kind, a quantized LSTM, DCP's description."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimizer = torch.optim.AdamW([parameter], amsgrad=True)
    marked = nn.Parameter(torch.zeros(1))
    marked.note = "an attribute"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lstm = torch.ao.quantization.quantize_dynamic(nn.LSTM(2, 2), {nn.LSTM}, torch.qint8)
        value = [
            optimizer,
            torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 50),
            torch.optim.lr_scheduler.MultiStepLR(optimizer, [2]),
            torch.amp.GradScaler("cpu"),
            torch.Generator(),
            torch.__version__,
            torch.eye(2).to_sparse(),
            torch.eye(2).to_sparse_csr(),
            torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            torch.empty(2, device="meta"),
            torch.ones(1).to(torch.float8_e4m3fn),
            marked,
            torch.distributions.Normal(torch.zeros(1), torch.ones(1)),
            torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(3))),
            lstm,
            lstm.state_dict(),
            torch.distributed.fsdp.ShardingStrategy.FULL_SHARD,
        ]
        assert [] == alarms(save(tmp_path / "a", value))
        torch.distributed.checkpoint.save({"w": torch.ones(3)}, checkpoint_id=tmp_path / "d", no_dist=True)
    assert [] == alarms(tmp_path / "d" / ".metadata")


def test_a_class_that_is_made_without_a_call_stays_a_note(tmp_path):
    """Named, or made by NEWOBJ and BUILD, a list filled and items set: S202."""
    made = instance("my_models", "Net", attributes(activation=name("my_models", "relu"), append=b"K\x01"))
    kept = call("functools", "partial", name("my_models", "norm")) + call(
        "collections", "defaultdict", name("my_models", "make")
    )
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04(" + made + kept + name("my_models", "Outer.Inner") + b")\x81t.")
    assert ["unknown-global"] == [damage.kind for damage in open_checkpoint(tmp_path / "a.pkl").damage]


def test_names_that_torch_alone_resolves_are_no_danger(tmp_path):
    """TorchScript's type names, its objects, a tracer's class, and what a torch.package brings itself."""
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script")
    kinds = (b"ctorch.jit\nLoweredModule.backend\n", b"ctorch.jit\nbackend_demoLoweredModule\n")
    lowered = b"\x80\x02" + b"0".join(kind + b")\x81}b" for kind in kinds) + b"."
    rezip(tmp_path / "script", tmp_path / "lowered", lambda n, data: lowered if n == "data.pkl" else data)
    assert [] == alarms(tmp_path / "lowered")
    (tmp_path / "a.pkl").write_bytes(lowered)
    assert open_checkpoint(tmp_path / "a.pkl").is_damaged("dangerous-global")
    for known in (("torch._C", "ScriptObject"), ("torch.fx._symbolic_trace", "Tracer")):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + name(*known) + b")\x81.")
        assert [] == alarms(tmp_path / "a.pkl")


@pytest.mark.parametrize("module", ["torch.testing.models", "torch.testing", "posix"])
def test_a_package_names_its_own_modules(tmp_path, module):
    """Not as an attack; but one of Python's own names is never taken for the package's."""
    with zipfile.ZipFile(tmp_path / "p.pt", "w") as archive:
        archive.writestr("p/.data/extern_modules", "numpy\n")
        archive.writestr("p/torch/testing/models.py", "")
        archive.writestr("p/torch/testing/__init__.py", "")
        archive.writestr("p/posix.py", "")
        archive.writestr("p/model/model.pkl", b"\x80\x04" + instance(module, "Net") + b".")
    assert open_checkpoint(tmp_path / "p.pt").is_damaged("dangerous-global") == (module == "posix")


COUNT = call("itertools", "count")
MAX = b"J" + (2**31 - 1).to_bytes(4, "little")
EXPONENT = call("decimal", "Decimal", text("1e999999999"))
ENDLESS = {
    "a list of all numbers": call("builtins", "list", COUNT),
    "a tuple of one made again": call("builtins", "tuple", call("itertools", "repeat", b"K\x01", MAX)),
    "a queue of a cycle": call("collections", "deque", call("itertools", "cycle", b"](K\x01e")),
    "pairs of two": call("collections", "defaultdict", name("builtins", "list"), call("builtins", "zip", COUNT, COUNT)),
    "what chain takes it through": call("builtins", "set", call("itertools", "chain", COUNT)),
    "a tuple's own __new__": name("builtins", "tuple") + COUNT + b"\x85\x81",
    "the same as a function": call("copyreg", "__newobj__", name("builtins", "tuple"), COUNT),
    "the same with keywords": call("copyreg", "__newobj_ex__", name("builtins", "tuple"), COUNT + b"\x85", b"}"),
    "as in old protocols": call(
        "copyreg", "_reconstructor", name("builtins", "tuple"), name("builtins", "tuple"), COUNT
    ),
    "a range": call("builtins", "list", call("builtins", "range", MAX)),
    "all addresses": call("builtins", "frozenset", call("ipaddress", "IPv4Network", text("0.0.0.0/0"))),
    "zeros": call("builtins", "bytearray", MAX),
    "zeros of a number in a text": call("builtins", "bytes", call("builtins", "int", text("9999999999"))),
    "an array": call("numpy._core.multiarray", "_reconstruct", name("numpy", "ndarray"), MAX + b"\x85", text("b")),
    "a storage": call("torch", "FloatStorage", MAX),
    "a pool": call("numpy.random.bit_generator", "SeedSequence", b"K\x01", b")", MAX),
    "zeros that numpy counts": call(
        "builtins",
        "bytes",
        call("numpy._core.multiarray", "scalar", call("numpy", "dtype", text("i8")), b"C\x08" + b"\xff" * 7 + b"\x00"),
    ),
    "zeros of a class": call("copyreg", "_reconstructor", name("builtins", "bytes"), name("builtins", "bytes"), MAX),
    "all digits of a power": call("builtins", "int", EXPONENT),
    "a fraction of a power": call("fractions", "Fraction", text("1e999999999")),
}


@pytest.mark.parametrize("program", ENDLESS.values(), ids=ENDLESS)
def test_a_program_that_takes_all_time_or_memory_stops_the_gate(tmp_path, program):
    """Harmless functions that are handed more than the file holds."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + program + b".")
    assert open_checkpoint(tmp_path / "a.pkl").is_damaged("dangerous-global")


def test_a_logger_that_the_pickle_changes_is_the_programs_own(tmp_path):
    """Its filters are called with the next message; a logger that a checkpoint holds is written by its name alone."""
    logger = call("logging", "getLogger", text("torch"))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + logger + b".")
    assert not open_checkpoint(tmp_path / "a.pkl").is_damaged("dangerous-global")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + logger + b"}" + text("filters") + b"]sb.")
    assert open_checkpoint(tmp_path / "a.pkl").is_damaged("dangerous-global")


def test_calls_are_judged_once_each(tmp_path):
    """Twenty thousand calls of one function are one entry, and rebuilding functions are followed to a depth."""
    many = b"\x80\x02cmy_models\nmake\nq\x00" + b"h\x00)R0" * 20_000 + b"."
    reading = read(many)
    assert [("my_models", "make")] == list(reading.calls)
    arguments = b")"
    for _ in range(500):
        function, kind = name("torch._tensor", "_rebuild_from_type_v2"), name("torch", "Tensor")
        arguments = b"(" + function + kind + arguments + b"}t"
    reading = read(b"\x80\x04" + function + arguments + b"R.")
    assert reading.finished
    assert ["dangerous-global"] == [damage.kind for damage in reading.damage]


def test_the_result_of_a_call_is_called(tmp_path):
    """No healthy file calls what a call returned: through it plain dictionaries hand out `eval`."""
    program = (
        b"\x80\x02ccollections\nOrderedDict\n)R"  # stands for whatever gives the attacker an object
        b"cpackage\nfind\n)R(X\x01\x00\x00\x00xtR\x86."
    )
    assert open_checkpoint(with_program(tmp_path / "a", program)).is_damaged("dangerous-global")
    globals_of = b"\x80\x04\x8c\x17torch.nn.modules.module\x8c\x1aModule.forward.__globals__\x93."
    assert dangerous(with_program(tmp_path / "b", globals_of))


SYSTEM = call("torch", "_import_dotted_name", text("os.system"))


REBUILD = ("torch._tensor", "_rebuild_from_type_v2")


TENSOR = name("torch", "Tensor")


ARGUMENTS = b"(" + COMMAND + b"t"


RAW = b"C" + bytes([len(INNER)]) + INNER


NAMESPACE = name("types", "SimpleNamespace") + b")\x81"


THROUGH_NAMES = {
    "a method put into an instance": NAMESPACE + b"}" + text("__setstate__") + SYSTEM + b"sb" + COMMAND + b"b",
    "the same as slots": NAMESPACE + b"N}" + text("__setstate__") + SYSTEM + b"s\x86b",
    "a function that a rebuild calls": call(*REBUILD, SYSTEM, TENSOR, ARGUMENTS, b"}"),
    "a name that a rebuild calls": call(
        *REBUILD, name("torch.storage", "_load_from_bytes"), TENSOR, RAW + b"\x85", b"}"
    ),
    "a module by its dotted name": call("torch", "ops.import_module", text("this")),
    "a module by a borrowed function": call("torch.distributed._tensor", "import_module", text("this")),
    "a pipe's wrapper": name("torch.utils.data.datapipes.datapipe", "_IterDataPipeSerializationWrapper")
    + b")\x81"
    + RAW
    + b"\x89\x86b",
    "a loader by its dotted name": call("torch", "storage._load_from_bytes", RAW),
    "a loader of bytes that are computed": call(
        "torch.storage", "_load_from_bytes", call("builtins", "bytes", b"](K.K.e")
    ),
    "an object out of a tensor": call("torch.distributed.distributed_c10d", "_tensor_to_object", b"K\x00", b"K\x01"),
    "a class made of methods": call("builtins", "type", text("X"), b")", b"}"),
    "an expression": call("sympy", "sympify", text("1")),
    "a file": call("torch", "PyTorchFileWriter", text("canary")),
}


@pytest.mark.parametrize("attack", THROUGH_NAMES)
def test_names_that_lead_to_any_code(tmp_path, attack):
    """torch.load(weights_only=False)."""
    path = tmp_path / "a"
    path.write_bytes(b"\x80\x04" + THROUGH_NAMES[attack] + b".")
    assert open_checkpoint(path).is_damaged("dangerous-global")
