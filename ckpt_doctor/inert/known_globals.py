"""The names that pickles of checkpoints mention, sorted by what they mean for whoever loads the file."""

from __future__ import annotations

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

# What healthy checkpoints name and nothing calls while they are loaded; what is called stands in `callables`
KNOWN = frozenset(
    """
    builtins.Ellipsis builtins.NotImplemented builtins.len builtins.abs builtins.sum builtins.round builtins.max
    builtins.min builtins.any builtins.all builtins.sorted builtins.pow builtins.isinstance inspect._empty
    string.Template builtins.print builtins.property contextlib.nullcontext operator.add operator.sub operator.mul
    operator.truediv operator.matmul _operator.add _operator.sub _operator.mul _operator.truediv _operator.matmul
    types.MappingProxyType enum.Enum statistics.NormalDist re.compile math.inf math.nan numpy.ndarray numpy.bool_
    numpy.generic numpy.matrix dataclasses._MISSING_TYPE dataclasses.Field dataclasses._HAS_DEFAULT_FACTORY_CLASS
    collections.abc.Mapping collections.abc.Sequence _collections_abc.dict_keys _collections_abc.dict_values
    _collections_abc.dict_items _collections_abc.odict_keys _collections_abc.odict_values
    torch._dynamo.decorators._DimRange torch._C.ScriptObject torch.fx._symbolic_trace.Tracer
    torch.testing._internal.quantization_torch_package_models.LinearReluFunctional
    torch.testing._internal.quantization_torch_package_models.LinearReluFunctionalChild
    """.split()  # noqa: SIM905 (quoted one by one the names fill a page)
)
# Need their package, which is no loader of other things in this place
PACKAGED = frozenset({"joblib.numpy_pickle.NumpyArrayWrapper", "joblib.numpy_pickle_compat.NDArrayWrapper"})
# Modules whose classes hold data or describe types (`typing.Any` in every OmegaConf configuration)
DATA_MODULES = frozenset(
    """
    typing collections collections.abc _collections_abc configparser optparse argparse dataclasses enum numbers decimal
    fractions statistics datetime time calendar uuid ipaddress array abc
    """.split()  # noqa: SIM905 (as above)
)
KNOWN_NUMPY_TYPES = (
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
KNOWN_TORCH = (
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
TORCH_CLASSES = (
    r"(Tensor|Size|Generator|ScriptObject|Stream|Event|Sym(Int|Float|Bool)"
    r"|[A-Z][A-Za-z0-9]*(Tensor|Storage(Base)?))(\.\w+)?"
)
"""Classes that `torch` itself has and that healthy pickles name, and their methods."""
POWERFUL = (
    r"(?i)load|save|compile|import|eval|exec|getattr|fqn|dotted|pickl|object|file|reader|writer|open|baton|script|library"
    r"|subprocess|spawn|module_from|hub|parse|shell|command|testing|jit|runstring"
)
"""What functions of torch are called that run code, read or write files, or hand out other objects by their names."""
PURE_TORCH = ("torch.nn.functional", "torch.nn.init", "torch._C._nn", "torch.distributions", "torch.special")
"""Modules that hold nothing but arithmetic, whatever its names (`torch.nn.functional.unfold`)."""

# Modules of which no name belongs in a checkpoint: they run code, reach the system, files or the network, or hand out
# other objects by name
DANGEROUS_MODULES = frozenset(
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
DANGEROUS_PREFIXES = (
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
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter",  # its `__del__` calls what its attributes say
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
