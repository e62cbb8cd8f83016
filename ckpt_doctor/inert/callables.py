"""What loading a checkpoint may call: exact names by module. Whatever stands in no table is a foreign call (S204).

Three kinds stand here: what `torch.load(weights_only=True)` itself calls, how torch, numpy and the standard library
pickle plain data, and the enums of two packages that most checkpoints of their users hold. An entry belongs here when
no argument can make it run other code, reach a file or hand out another object; what calls one of its own arguments
stands in `CALLS` as well, and that argument is judged like a call.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckpt_doctor.inert.known_globals import WEIGHTS_ONLY
from ckpt_doctor.types import Global

_STANDARD: Mapping[str, str] = {
    "builtins": """
        bool bytearray bytes complex dict enumerate float frozenset int list object range reversed set slice str tuple
        type zip
        ArithmeticError AssertionError AttributeError BaseException BlockingIOError BrokenPipeError BufferError
        BytesWarning ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError
        ConnectionResetError DeprecationWarning EOFError EncodingWarning EnvironmentError Exception FileExistsError
        FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError ImportError ImportWarning
        IndentationError IndexError InterruptedError IsADirectoryError KeyError KeyboardInterrupt LookupError
        MemoryError ModuleNotFoundError NameError NotADirectoryError NotImplementedError OSError OverflowError
        PendingDeprecationWarning PermissionError ProcessLookupError RecursionError ReferenceError ResourceWarning
        RuntimeError RuntimeWarning StopAsyncIteration StopIteration SyntaxError SyntaxWarning SystemError SystemExit
        TabError TimeoutError TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError UnicodeError
        UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning ZeroDivisionError""",
    "_codecs": "encode",
    "codecs": "encode",
    "copyreg": "_reconstructor __newobj__ __newobj_ex__",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "collections.abc": "_CallableGenericAlias Callable",
    "types": "GenericAlias SimpleNamespace",
    "typing": """
        AbstractSet Annotated Any AnyStr AsyncGenerator AsyncIterable AsyncIterator Awaitable ByteString Callable
        ChainMap ClassVar Collection Concatenate Container Coroutine Counter DefaultDict Deque Dict Final FrozenSet
        Generator Generic Hashable ItemsView Iterable Iterator KeysView List Literal Mapping MappingView Match
        MutableMapping MutableSequence MutableSet Optional OrderedDict Pattern Protocol Reversible Sequence Set Sized
        Tuple Type TypeGuard Union Unpack ValuesView""",
    "argparse": "Namespace",
    "array": "_array_reconstructor array",
    "datetime": "date datetime time timedelta timezone",
    "zoneinfo": "ZoneInfo ZoneInfo._unpickle",
    "_zoneinfo": "ZoneInfo ZoneInfo._unpickle",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID SafeUUID",
    "random": "Random",
    "ipaddress": "IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network",
    **dict.fromkeys(("pathlib", "pathlib._local"), "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"),
    "io": "BytesIO StringIO",
    "_io": "BytesIO StringIO",
    "re": "RegexFlag _compile",
    "itertools": "chain count cycle repeat",
    "functools": "partial",
    "operator": "getitem",
    "_operator": "getitem",
    "logging": "getLogger",
    "http": "HTTPStatus",
    "signal": "Signals",
    "os": "stat_result terminal_size",
    "time": "struct_time",
    "numpy": "dtype",
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct scalar"),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer"),
    **dict.fromkeys(("numpy.core._internal", "numpy._core._internal"), "_convert_to_stringdtype_kwargs"),
    "numpy.ma": "MaskedArray",
    "numpy.ma.core": "MaskedArray MaskedConstant _mareconstruct",
    "numpy.random": "__RandomState_ctor",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    **dict.fromkeys(
        ("numpy.random.bit_generator", "numpy.random._bit_generator"), "SeedSequence __pyx_unpickle_SeedSequence"
    ),
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random._generator": "Generator",
    "numpy.random.mtrand": "RandomState",
    "torch": "Generator",
    "torch._C": "Generator",
    "torch._utils": """
        _rebuild_hpu_tensor _rebuild_mlc_tensor _rebuild_sparse_csr_tensor _rebuild_xla_tensor""",
    "torch._tensor": "_rebuild_from_type",
    "torch.tensor": "_rebuild_from_type",
    "torch.autograd.variable": "Variable",
    "torch.nested._internal.nested_tensor": "_rebuild_njt",
    "torch.nn": "Parameter",
    "torch.nn.backends.thnn": "_get_thnn_function_backend",
    "torch.nn.parameter": "Buffer Parameter UninitializedBuffer UninitializedParameter",
    "torch.storage": "_load_from_bytes",
    **dict.fromkeys(("torch.amp.grad_scaler", "torch.cuda.amp.grad_scaler"), "OptState _refresh_per_optimizer_state"),
    "torch.ao.quantization.backend_config.backend_config": "ObservationType",
    "torch.ao.quantization.observer": "MappingType TorchAODType ZeroPointDomain",
    "torch.ao.quantization.quant_type": "QuantType",
    "torch.distributed._shard.sharded_tensor.metadata": "MEM_FORMAT_ENCODING",
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper": "CheckpointImpl",
    "torch.distributed.checkpoint.filesystem": "SerializationFormat",
    "torch.distributed.checkpoint.metadata": "_MEM_FORMAT_ENCODING",
    "torch.distributed.checkpoint.planner": "LoadItemType WriteItemType",
    "torch.distributed.fsdp.api": "BackwardPrefetch ShardingStrategy StateDictType",
    "torch.distributed.fsdp.fully_sharded_data_parallel": "OptimStateKeyType",
    "torch.nn.attention.bias": "CausalVariant",
    "torch.nn.parallel.distributed": "_BufferCommHookLocation",
    "torch.nn.utils.parametrizations": "_OrthMaps",
    "torch.utils.checkpoint": "CheckpointPolicy",
}
"""How torch, numpy and the standard library pickle their own data (their `__reduce__` methods; members of enums)."""

_PACKAGES: Mapping[str, str] = {
    "accelerate.state": "DistributedType",
    "accelerate.utils.dataclasses": """
        ComputeEnvironment CustomDtype DDPCommunicationHookType DistributedType DynamoBackend FP8BackendType LoggerType
        PrecisionType RNGType SageMakerDistributedType""",
    "sklearn.tree._tree": "Tree",
    "torchvision.transforms.functional": "InterpolationMode",
    "transformers.debug_utils": "DebugOption",
    "transformers.trainer_utils": """
        EvaluationStrategy FSDPOption HPSearchBackend HubStrategy IntervalStrategy SaveStrategy SchedulerType""",
    "transformers.training_args": "OptimizerNames ParallelMode",
    "transformers.utils.generic": "PaddingStrategy TensorType",
    "transformers.utils.quantization_config": "AwqBackend AwqFormat ExllamaVersion QuantizationMethod",
}
"""Enums of other packages, and a compiled class whose constructor takes numbers alone."""


def _names(table: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((module, name) for module, names in table.items() for name in names.split())


STANDARD = _names(_STANDARD) | {(module, name) for module, _, name in (full.rpartition(".") for full in WEIGHTS_ONLY)}
_LISTED = STANDARD | _names(_PACKAGES)

CALLS: Mapping[str, int] = {
    "torch._tensor._rebuild_from_type_v2": 0,
    "torch._tensor._rebuild_from_type": 0,
    "torch.tensor._rebuild_from_type": 0,
    "copyreg._reconstructor": 1,
    "collections.defaultdict": 0,
    "operator.getitem": 0,
    "_operator.getitem": 0,
    "array._array_reconstructor": 0,
    "numpy.ma.core._mareconstruct": 0,
    "numpy.random._pickle.__bit_generator_ctor": 0,
    "numpy.random._pickle.__generator_ctor": 1,
    "numpy.random._pickle.__randomstate_ctor": 1,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": 0,
    "numpy.random._bit_generator.__pyx_unpickle_SeedSequence": 0,
}
"""Which of its arguments a function calls: by name, as `cls(...)`, or (`getitem`) as `cls[...]`."""

MAKERS = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})
"""What the opcodes NEWOBJ and NEWOBJ_EX do, as functions: make an instance of their first argument's class."""

KEEPERS = frozenset(
    """
    argparse.Namespace types.SimpleNamespace collections.defaultdict functools.partial datetime.datetime datetime.time
    """.split()  # noqa: SIM905 (as in known_globals)
)
"""What stores its arguments and asks nothing of them; so do exceptions."""

LAZY = frozenset(
    """
    builtins.enumerate builtins.reversed builtins.zip itertools.chain itertools.count itertools.cycle itertools.repeat
    """.split()  # noqa: SIM905 (as in known_globals)
)
"""What makes an iterator and takes nothing out of its arguments; some never end. Pickle writes what is in a container,
so no healthy file hands one of these to a function that would empty it."""


def is_listed(name: Global) -> bool:
    """Whether loading may call this function or class: by its exact name, in the module that it is listed under."""
    return (name.module, name.name) in _LISTED


def keeps(name: Global) -> bool:
    """Whether a listed function does nothing with its arguments but to store them."""
    is_exception = name.module == "builtins" and name.name.endswith(("Error", "Exception", "Exit", "Warning"))
    return is_exception or str(name) in KEEPERS
