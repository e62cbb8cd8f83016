"""Judges the names that a checkpoint's pickles mention: allowed, known, unknown, dangerous.

`torch.load` imports every one of them and calls most. *Allowed* is what `torch.load(weights_only=True)` accepts;
*known* is plain data of torch, numpy and the standard library; *dangerous* runs code or reaches the system, files or
the network, or is a step on the way there; *unknown* is everything else, which needs its package to load.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from ckpt_doctor.readers.pickle_machine import COMPUTED, shown
from ckpt_doctor.types import Container, Damage, Global

Judgement = Literal["allowed", "known", "unknown", "dangerous"]

# torch 2.13, torch/_weights_only_unpickler.py, `_get_allowed_globals` and `_tensor_rebuild_functions`
_TENSOR_KINDS = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_SPARSE_KINDS = ("BFloat16", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_COMPLEX_KINDS = ("ComplexDouble", "ComplexFloat")
_QUANTIZED_KINDS = ("QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8")
_REBUILD = (
    "parameter",
    "parameter_with_state",
    "qtensor",
    "tensor",
    "tensor_v2",
    "tensor_v3",
    "sparse_tensor",
    "meta_tensor_no_storage",
    "nested_tensor",
    "wrapper_subclass",
    "device_tensor_from_numpy",
    "device_tensor_from_cpu_tensor",
)
_DTYPES = (
    "bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16 float32 "
    "float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
    "int1 int16 int2 int3 int32 int4 int5 int6 int64 int7 int8 qint32 qint8 quint2x4 quint4x2 quint8 "
    "uint1 uint16 uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7 uint8 "
    "per_channel_affine per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine "
    "per_tensor_symmetric"
)
WEIGHTS_ONLY = frozenset(
    [
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.Size",
        "torch.Tensor",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch._tensor._rebuild_from_type_v2",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        *(f"torch._utils._rebuild_{name}" for name in _REBUILD),
        *(f"torch.{name}" for name in _DTYPES.split()),
        *(f"torch.{kind}Tensor" for kind in _TENSOR_KINDS),
        *(f"torch.cuda.{kind}Tensor" for kind in _TENSOR_KINDS),
        *(f"torch.sparse.{kind}Tensor" for kind in _SPARSE_KINDS),
        *(f"torch.cuda.sparse.{kind}Tensor" for kind in _SPARSE_KINDS),
        *(f"torch.{kind}Storage" for kind in (*_TENSOR_KINDS, *_COMPLEX_KINDS, *_QUANTIZED_KINDS)),
        *(f"torch.cuda.{kind}Storage" for kind in (*_TENSOR_KINDS, *_COMPLEX_KINDS)),
    ]
)
"""What `torch.load(weights_only=True)` accepts without `add_safe_globals`."""

# Plain data of the standard library and numpy, as healthy checkpoints hold them
_KNOWN = frozenset(
    """
    builtins.bool builtins.bytes builtins.dict builtins.float builtins.frozenset builtins.int builtins.list
    builtins.object builtins.range builtins.slice builtins.str builtins.tuple builtins.Ellipsis
    builtins.NotImplemented builtins.type builtins.Exception builtins.ValueError builtins.RuntimeError
    builtins.KeyError builtins.len builtins.abs builtins.sum builtins.round builtins.max builtins.min builtins.any
    builtins.all builtins.sorted builtins.pow builtins.isinstance inspect._empty http.HTTPStatus signal.Signals
    string.Template os.stat_result os.terminal_size
    builtins.print builtins.zip builtins.enumerate builtins.reversed builtins.property contextlib.nullcontext
    operator.getitem _operator.getitem time.struct_time
    functools.partial operator.add operator.sub operator.mul operator.truediv operator.matmul
    _operator.add _operator.sub _operator.mul _operator.truediv _operator.matmul
    codecs.encode copyreg._reconstructor copyreg.__newobj__ copyreg.__newobj_ex__
    collections.defaultdict collections.deque collections.ChainMap collections.UserDict collections.UserList
    argparse.Namespace types.SimpleNamespace types.MappingProxyType enum.Enum datetime.date datetime.datetime
    datetime.time datetime.timedelta datetime.timezone zoneinfo.ZoneInfo zoneinfo.ZoneInfo._unpickle
    _zoneinfo.ZoneInfo _zoneinfo.ZoneInfo._unpickle decimal.Decimal statistics.NormalDist fractions.Fraction
    uuid.UUID uuid.SafeUUID random.Random array.array array._array_reconstructor pathlib.Path pathlib.PurePath
    pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath pathlib.PureWindowsPath pathlib._local.Path
    pathlib._local.PurePath pathlib._local.PosixPath pathlib._local.PurePosixPath pathlib._local.WindowsPath
    pathlib._local.PureWindowsPath logging.getLogger io.BytesIO _io.BytesIO io.StringIO _io.StringIO re._compile
    re.compile math.inf math.nan ipaddress.IPv4Address numpy.ndarray
    numpy.dtype numpy.bool_ numpy.generic numpy.matrix numpy.ma.core.MaskedArray numpy.ma.core._mareconstruct
    numpy.core.multiarray.scalar numpy._core.multiarray.scalar numpy.core.multiarray._reconstruct
    numpy._core.multiarray._reconstruct numpy.core.numeric._frombuffer numpy._core.numeric._frombuffer
    numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor
    numpy.random._pickle.__bit_generator_ctor numpy.random.mtrand.RandomState numpy.random._mt19937.MT19937
    numpy.random._pcg64.PCG64 numpy.random.bit_generator.SeedSequence numpy.random._generator.Generator
    numpy.random._pickle.__bit_generator_ctor numpy.random._bit_generator.SeedSequence
    dataclasses._MISSING_TYPE dataclasses.Field dataclasses._HAS_DEFAULT_FACTORY_CLASS
    itertools.count itertools.cycle itertools.repeat itertools.chain collections.abc.Mapping collections.abc.Sequence
    _collections_abc.dict_keys _collections_abc.dict_values _collections_abc.dict_items
    _collections_abc.odict_keys _collections_abc.odict_values torch._dynamo.decorators._DimRange
    torch.storage._load_from_bytes
    """.split()  # noqa: SIM905 (quoted one by one the names fill a page)
)
# Need their package, which is no loader of other things in this place
_PACKAGED = frozenset({"joblib.numpy_pickle.NumpyArrayWrapper", "joblib.numpy_pickle_compat.NDArrayWrapper"})
# Modules whose classes hold data or describe types (`typing.Any` in every OmegaConf configuration)
_DATA_MODULES = frozenset(
    """
    typing collections collections.abc _collections_abc configparser optparse argparse dataclasses enum numbers decimal
    fractions statistics datetime time calendar uuid ipaddress array abc
    """.split()  # noqa: SIM905 (as above)
)
_KNOWN_NUMPY_TYPES = (
    "float",
    "int",
    "uint",
    "complex",
    "bool",
    "str_",
    "bytes_",
    "datetime64",
    "timedelta64",
    "longdouble",
)

# Parts of torch that pickled modules, optimizers and configurations name
_KNOWN_TORCH = (
    "torch.nn",
    "torch.optim",
    "torch.cuda.amp",
    "torch.amp",
    "torch.ao.nn",
    "torch.ao.quantization",
    "torch.quantization",
    "torch.distributions",
    "torch.distributed.tensor",
    "torch.distributed._tensor",
    "torch.distributed.fsdp",
    "torch.distributed._shard",
    "torch.distributed.device_mesh",
    "torch.distributed.algorithms",
    "torch.distributed.checkpoint",
    "torch.storage",
    "torch.torch_version",
    "torch._C._nn",
    "torch._tensor",
    "torch.utils.data",
    "torch.sparse",
    "torch.random",
    "torchvision",
)
_TORCH_CLASSES = re.compile(
    r"(Tensor|Size|Generator|ScriptObject|Stream|Event|Sym(Int|Float|Bool)|[A-Z][A-Za-z0-9]*(Tensor|Storage(Base)?))(\.\w+)?"
)
"""Classes that `torch` itself has and that healthy pickles name, and their methods."""
_POWERFUL = re.compile(
    r"load|save|compile|import|eval|exec|getattr|fqn|dotted|pickl|object|file|reader|writer|open|baton|script|library"
    r"|subprocess|spawn|module_from|hub|parse|shell|command|testing|jit|runstring",
    re.IGNORECASE,
)
"""What functions of torch are called that run code, read or write files, or hand out other objects by their names."""
_PURE_TORCH = ("torch.nn.functional", "torch.nn.init", "torch._C._nn", "torch.distributions", "torch.special")
"""Modules that hold nothing but arithmetic, whatever its names (`torch.nn.functional.unfold`)."""

# Modules of which no name belongs in a checkpoint: they run code, reach the system, files or the network, or hand out
# other objects by name
_DANGEROUS_MODULES = frozenset(
    """
    builtins __builtin__ os posix nt sys subprocess commands popen2 pty tty shutil tempfile glob fileinput io _io mmap
    signal resource fcntl socket _socket ssl select selectors socketserver asyncio http urllib urllib2 urllib3 httplib
    ftplib smtplib telnetlib poplib imaplib nntplib xmlrpc webbrowser requests httpx aiohttp paramiko wsgiref
    runpy importlib imp pkgutil zipimport pip ensurepip venv distutils setuptools sysconfig modulefinder
    code codeop ast dis inspect symtable compileall py_compile bdb pdb trace timeit cProfile profile pstats
    doctest unittest idlelib lib2to3 pydoc cgitb antigravity rlcompleter readline ctypes
    _ctypes cffi gc atexit weakref threading _thread multiprocessing _multiprocessing concurrent
    marshal pickle _pickle cPickle pickletools shelve dbm copy_reg dill cloudpickle joblib jsonpickle operator
    _operator functools _functools logging platform getpass pwd grp crypt curses tkinter
    sqlite3 _sqlite3 _aix_support _osx_support _pyrepl _posixsubprocess _winapi _winreg winreg msvcrt nturl2path
    IPython ipykernel jupyter_client pytest numexpr test _testcapi _testinternalcapi _interpreters _xxsubinterpreters
    """.split()  # noqa: SIM905 (quoted one by one the names fill a page)
)
_DANGEROUS_PREFIXES = (
    "torch.hub",
    "torch.jit",
    "torch.package",
    "torch.fx",
    "torch.utils.cpp_extension",
    "torch.utils.model_zoo",
    "torch.utils.collect_env",
    "torch.utils.bottleneck",
    "torch.utils._config_module",
    "torch.utils.data.datapipes",
    "torch.utils.hipify",
    "torch.multiprocessing",
    "torch.distributed.rpc",
    "torch.distributed.run",
    "torch.distributed.launch",
    "torch.distributed.elastic",
    "torch._dynamo",
    "torch._inductor",
    "torch._export",
    "torch.export",
    "torch.testing",
    "torch.serialization",
    "numpy.testing",
    "numpy.distutils",
    "numpy.f2py",
    "numpy.lib",
    "numpy.ctypeslib",
    "numpy.load",
    "numpy.save",
    "numpy.fromfile",
    "numpy.core.multiarray.fromfile",
    "numpy._core.multiarray.fromfile",
    "numpy.core.records.fromfile",
    "numpy._core.records.fromfile",
    "numpy.memmap",
    "numpy.core.memmap",
    "numpy._core.memmap",
    "numpy.ndarray.tofile",
    "numpy.ndarray.dump",
    "numpy.__init__",
    "pandas.io",
    "pandas.eval",
    "pandas.core.computation",
    "pandas.read_",
    "scipy.io",
    "sympy.parsing",
    "sympy.sympify",
    "sympy.core.sympify",
    "sympy.utilities",
    "jinja2",
    "fsspec",
    "tensorflow.io",
    "tensorflow.saved_model",
    "keras.models",
    "uuid._",
    "six.moves",
    "string.Formatter",
    "types.FunctionType",
    "types.CodeType",
    "types.MethodType",
    "types.LambdaType",
    "types.ModuleType",
    "copyreg.",
    "codecs.",
    "_codecs.",
)


def judge(name: Global) -> Judgement:
    """What one name means for whoever loads the file."""
    full = str(name)
    # Dots in a name lead through what a module has imported: the list's names are those of the modules themselves.
    if name.module != "torch" or "." not in name.name:
        if full in WEIGHTS_ONLY:
            return "allowed"
        if full in _KNOWN:
            return "known"
        if full in _PACKAGED:
            return "unknown"
    # Stripped, because what looks like `os\\r` was `os` before the file's line endings changed
    module, inner = name.module.strip(), name.name.strip()
    if not module or COMPUTED[:-1] in full:
        return "dangerous"
    if full != f"{module}.{inner}" and f"{module}.{inner}" in WEIGHTS_ONLY | _KNOWN:
        return "unknown"
    if _is_dangerous(f"{module}.{inner}") or _leads_elsewhere(inner):
        return "dangerous"
    if module == "numpy" and inner.rstrip("0123456789").startswith(_KNOWN_NUMPY_TYPES):
        return "known"
    if module == "numpy.dtypes" and inner.endswith("DType"):
        return "known"
    root = module.partition(".")[0]
    if root in ("torch", "torchvision"):
        return _judge_torch(module, inner)
    if (root == "builtins" and inner.endswith(("Error", "Exception", "Warning"))) or module in ("math", "cmath"):
        return "known"
    if module in _DATA_MODULES and inner.isidentifier() and inner[0].isupper():
        # A metaclass makes classes of any methods; a forward reference evaluates its text.
        return "dangerous" if inner.endswith(("Meta", "Type")) or inner == "ForwardRef" else "known"
    # Plain data of the standard library is listed above. All else of it has no business in a checkpoint, and too much
    # of it runs what it is handed (`dataclasses._create_fn`, `typing.get_type_hints`, `site.addsitedir`).
    return "dangerous" if root in sys.stdlib_module_names else "unknown"


def _is_dangerous(full: str) -> bool:
    return full.partition(".")[0] in _DANGEROUS_MODULES or full.startswith(_DANGEROUS_PREFIXES)


def _leads_elsewhere(inner: str) -> bool:
    """Whether a dotted name takes another module's names by way of an innocent one: `random`, `_os.system`."""
    parts = inner.split(".")
    if len(parts) == 1:
        return False
    if any(part.startswith("__") for part in parts):  # `Module.forward.__globals__`
        return True
    plain = [part.lstrip("_") for part in parts]
    return any(_is_dangerous(".".join(plain[at:])) for at in range(len(plain)))


def _is_class_of_c(module: str, inner: str) -> bool:
    if module != "torch._C" or _POWERFUL.search(inner):
        return False
    return inner[:1].isupper() or inner.startswith("_VariableFunctions")  # `torch.tanh`, as pickle finds it


def _judge_torch(module: str, inner: str) -> Judgement:
    if module == "torch":
        if _TORCH_CLASSES.fullmatch(inner):
            return "dangerous" if _POWERFUL.search(inner.partition(".")[2]) else "known"
        # Functions go by this module (`torch.tanh`); what begins otherwise, or is dotted, leads on into all of torch.
        plain = inner.isidentifier() and inner[0].islower() and inner not in sys.stdlib_module_names
        return "known" if plain and not _POWERFUL.search(inner) else "dangerous"
    if (module, inner[:9]) == ("torch._utils", "_rebuild_") or _is_class_of_c(module, inner):
        return "known"
    if any(_lies_in(module, pure) for pure in _PURE_TORCH) and inner.isidentifier():
        return "known"
    is_class = inner.lstrip("_")[:1].isupper()
    if not is_class and _POWERFUL.search(inner):
        return "dangerous"
    if _POWERFUL.search(f"{module}.{inner}") and not any(_lies_in(module, known) for known in _KNOWN_TORCH):
        return "dangerous"
    return "known" if any(_lies_in(module, known) for known in _KNOWN_TORCH) else "unknown"


def _lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def classify(names: Iterable[Global]) -> dict[Judgement, list[Global]]:
    """The names by judgement, each list in order of first mention."""
    found: dict[Judgement, list[Global]] = defaultdict(list)
    for name in names:
        found[judge(name)].append(name)
    return dict(found)


def assess(container: Container, names: Sequence[Global], refusals: Sequence[str] = ()) -> list[Damage]:
    """Findings of the kinds `dangerous-global`, `unknown-global` and `not-weights-only` for one file.

    `refusals` are reasons other than a name for which the restricted unpickler refuses it.
    """
    # TorchScript's own names: its C++ unpickler makes them from the archive's code and imports nothing
    scripted = ("__torch__", "torch.jit._pickle") if container == "torchscript" else ()
    names = [name for name in names if not name.module.startswith(scripted)]
    by = classify(names)
    damage = []
    for name in by.get("dangerous", []):
        what = "a name that it computes while loading" if COMPUTED in (name.module, name.name) else shown(name)
        message = f"loading the file would call or import {what}, which no checkpoint needs and an attacker does"
        damage.append(Damage("dangerous-global", message, found=shown(name)))
    packages: dict[str, list[Global]] = defaultdict(list)
    for name in by.get("unknown", []):
        packages[name.module.split(".")[0]].append(name)
    for package, members in packages.items():
        damage.append(_unknown(package, members))
    damage += _not_weights_only(container, names, refusals)
    return damage


def _unknown(package: str, names: Sequence[Global]) -> Damage:
    listed = _listed(names)
    if package == "__main__":
        message = f"it can only be loaded by the script that wrote it, which defines {listed}"
    elif package in sys.stdlib_module_names:
        message = f"it names {listed} of the standard library, which checkpoints have no use for"
    elif package in ("torch", "torchvision"):
        message = f"it names {listed}, inner parts of {package} that other versions may not have"
    else:
        message = f"it needs the package {shown(package)!r} to load, and runs its code: {listed}"
    return Damage("unknown-global", message, found=listed)


def _not_weights_only(container: Container, names: Sequence[Global], refusals: Sequence[str]) -> list[Damage]:
    if container not in ("torch-zip", "torch-legacy", "torch-tar", "torchscript"):
        return []
    reasons = list(dict.fromkeys(refusals))
    refused: list[Global] = []
    if container == "torchscript":
        reasons = ["it is a TorchScript archive, which torch.jit.load reads"]
    elif container == "torch-tar":
        reasons = ["it is a tar archive from before 0.1.10"]
    else:
        refused = [name for name in names if str(name) not in WEIGHTS_ONLY]
        if refused:
            reasons.insert(0, f"it names {_listed(refused)}, which the restricted unpickler does not allow")
    if not reasons:
        return []
    message = f"torch.load(weights_only=True), the default since torch 2.6, refuses the file: {'; '.join(reasons)}"
    by_name_only = refused and len(reasons) == 1
    return [Damage("not-weights-only", message, found=_listed(refused, 100) if by_name_only else None)]


def _listed(names: Sequence[Global], most: int = 5) -> str:
    text = ", ".join(shown(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
