"""Pickles that call what no checkpoint needs, each as the opcodes that a file would hold before its own."""

from __future__ import annotations

from tests.readers.attacks import attributes, call, instance, name, text

CODE = text("open('canary', 'w')")
PARTIAL = call("functools", "partial", name("torch.storage", "_maybe_alias"), CODE)


ALIASES = {
    "eval by numpy in functional": call("torch.nn.functional", "np.f2py.crackfortran.getlincoef", CODE, b"}"),
    "numpy's memmap in storage": call("torch.storage", "np.memmap", text("canary"), text("u1"), text("w+")),
    "a process pool": call("torch.utils.data.dataloader", "python_multiprocessing.Pool", b"K\x01"),
    "functools.reduce in a planner": call("torch.distributed.checkpoint.planner", "reduce", PARTIAL, b"]"),
    "a function type": call("dataclasses", "FunctionType", b"N", b"}"),
    "a method type": call("contextlib", "MethodType", PARTIAL, b"N"),
    "a planner's loader": call(
        "torch.distributed.checkpoint.default_planner",
        "DefaultLoadPlanner.load_bytes",
        instance("torch.distributed.checkpoint.default_planner", "DefaultLoadPlanner"),
        b"N",
        b"N",
    ),
    "a reader's metadata": call(
        "torch.distributed.checkpoint.filesystem",
        "FileSystemReader.read_metadata",
        instance("torch.distributed.checkpoint.filesystem", "FileSystemReader"),
    ),
    "a process of psutil": call("psutil", "Popen", CODE),
    "sympy's S": call("sympy", "S", CODE),
    "eval by numpy in numpy": call("numpy._core.arrayprint", "np.f2py.crackfortran.getlincoef", CODE, b"}"),
    "a model registry": call("timm", "create_model", CODE),
    "a test package": call("hypothesis.strategies._internal.core", "builds", CODE),
    "a script's function": call("__main__", "load_everything"),
}
"""Names that look harmless, and what they call."""
SIBLINGS = {
    "INST": b"(" + CODE + b"itorch.utils.data.dataloader\npython_multiprocessing.Pool\n",
    "OBJ": b"(" + name("psutil", "Popen") + CODE + b"o",
    "NEWOBJ by way of a module": name("torch.storage", "np.memmap") + text("canary") + b"\x85\x81",
    "NEWOBJ_EX by way of a module": name("torch.storage", "weakref.ref") + text("canary") + b"\x85}\x92",
    "a base of copyreg": call("copyreg", "_reconstructor", name("psutil", "Popen"), name("psutil", "Popen"), CODE),
    "a function that a rebuild calls": call(
        "torch._tensor", "_rebuild_from_type_v2", name("psutil", "Popen"), name("torch", "Tensor"), CODE + b"\x85", b"}"
    ),
    "a rebuild that a rebuild calls": call(
        "torch._tensor",
        "_rebuild_from_type_v2",
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("torch", "Tensor"),
        b"(" + name("psutil", "Popen") + name("torch", "Tensor") + CODE + b"\x85}t",
        b"}",
    ),
    "a masked array's class": call("numpy.ma.core", "_mareconstruct", name("psutil", "Popen"), b"N", b")", b"N"),
    "a generator's maker": call("numpy.random._pickle", "__generator_ctor", text("MT19937"), name("psutil", "Popen")),
    "a bit generator's class": call("numpy.random._pickle", "__bit_generator_ctor", name("psutil", "Popen")),
    "an array's class": call("array", "_array_reconstructor", name("psutil", "Popen"), text("b"), b"K\x00", b"C\x00"),
    "a factory by way of a module": call("collections", "defaultdict", name("torch.storage", "np.memmap")),
    "a factory in a partial": call("collections", "defaultdict", PARTIAL),
    "a partial that is called": PARTIAL + b")R",
    "what a class is subscripted with": call("operator", "getitem", name("my_models", "Registry"), text("x")),
    "a dict with a factory is asked": call(
        "operator", "getitem", call("collections", "defaultdict", name("my_models", "make")), text("x")
    ),
    "an instance is called": instance("my_models", "Runner") + b")R",
    "a module is called": instance("torch.nn.modules.linear", "Linear") + b")R",
    "a set of what an object iterates": call(
        "builtins", "set", instance("torch.utils.data.dataloader", "DataLoader", attributes(collate_fn=PARTIAL))
    ),
    "an ordered dict of it": call("collections", "OrderedDict", instance("torch.utils.data.dataloader", "DataLoader")),
    "a parameter of what is no tensor": call(
        "torch._utils",
        "_rebuild_parameter",
        instance("torch.nn.modules.linear", "Linear", attributes(weight=PARTIAL)),
        b"\x88",
        b"}",
    ),
    "a namespace in a tensor's place": call(
        "torch._utils",
        "_rebuild_parameter",
        call("types", "SimpleNamespace") + attributes(detach=PARTIAL) + b"b",
        b"\x88",
        b"}",
    ),
    "a text of an object": call("builtins", "str", instance("my_models", "Runner")),
    "a class with methods": call(
        "torch.autograd.function", "FunctionMeta", text("X"), b")", attributes(__setstate__=PARTIAL)
    ),
    "the same by NEWOBJ": name("torch.autograd.function", "FunctionMeta")
    + b"("
    + text("X")
    + b")"
    + attributes(__setstate__=PARTIAL)
    + b"t\x81",
    "the state of a class taken by getattr": call("builtins", "getattr", name("my_models", "Outer"), text("Inner"))
    + attributes(__init__=PARTIAL)
    + b"b",
    "a method taken by getattr": call("builtins", "getattr", name("my_models", "Outer"), text("run")) + b")R",
    "a method put into a set": instance("my_models", "Bag", attributes(add=PARTIAL)) + b"(K\x01\x90",
    "a module's class by persistent id": b"(" + text("module") + name("psutil", "Popen") + b"NNtQ" + CODE + b"\x85R",
    "an append that calls an attribute": instance(
        "torch.utils._appending_byte_serializer", "AppendingByteSerializer", attributes(_serialize_fn=PARTIAL)
    )
    + b"K\x01a",
    "an item that calls an attribute": instance(
        "torch.utils.weak", "WeakIdKeyDictionary", attributes(ref_type=PARTIAL, data=b"}")
    )
    + b"K\x01Ns",
    "an end that calls an attribute": instance(
        "torch.utils.data.dataloader", "_MultiProcessingDataLoaderIter", attributes(_workers_done_event=PARTIAL)
    ),
    "an extension": b"\x82\x01)R",
    "deflated bytes are loaded by name": call(
        "torch._tensor",
        "_rebuild_from_type",
        name("torch.storage", "_load_from_bytes"),
        name("torch", "Tensor"),
        b"C\x01.\x85",
        b"}",
    ),
}
"""Other ways in which loading calls."""
ATTACKS = ALIASES | SIBLINGS
