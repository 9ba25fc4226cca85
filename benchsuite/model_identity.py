"""What tells a model from any other, in every process: where it is made, of what, by which sources.

Sources are followed as far as they are the user's own. The standard library, installed packages and
this package are versions, not sources; of them only the factory's own file and the models count.
"""

import ast
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import threading
from collections.abc import Iterator
from functools import partial
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchsuite.training import ModelFactory, template

_INSTALLED = {"site-packages", "dist-packages"}
_VERSIONED = [Path(sysconfig.get_path("stdlib")).resolve(), Path(torch.__file__).resolve().parent]
_PACKAGE = Path(__file__).resolve().parent
_PARSING = threading.Lock()  # CPython 3.11's ast.parse fails in two threads at once (gh-106905)


def model_identity(factory: ModelFactory, version: str | None) -> dict[str, Any]:
    """What identifies the factory's models; JSON-able.

    Args:
        factory: makes one untrained model.
        version: stands for path, arguments and sources where it is given.

    Raises:
        ValueError: no source identifies the factory or an argument of it, and there is no version.
    """
    model = template(factory)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    if version is not None:
        return {"version": version, "parameters": shapes}
    made_by = _identity_of(factory)
    classes = {base for module in model.modules() for base in type(module).__mro__}
    begin = _modules_in(made_by) | {each.__module__ for each in classes}
    return {"made_by": made_by, "sources": _sources(begin), "parameters": shapes}


def _identity_of(value: object) -> Any:
    """What tells a model factory or an argument of it from any other, in every process; JSON-able.

    Never a repr: it may hold an address, or leave out what matters.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_identity_of(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _identity_of(each) for key, each in value.items()}}
    if isinstance(value, partial):
        return {
            "partial": _identity_of(value.func),
            "arguments": _identity_of(value.args),
            "keywords": _identity_of(value.keywords),
        }
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    found: object = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = getattr(found, part, None)
    if name is None or found != value:
        raise ValueError(
            f"model: {name or type(value).__name__} is a lambda, a closure or some other object "
            "that no source identifies: define a function or class at the top level of a module, "
            "or give the Subject a model_version"
        )
    try:
        source = inspect.getsourcefile(inspect.unwrap(value))  # type: ignore[arg-type]
        content = Path(source or "").read_bytes()
    except (TypeError, OSError) as error:
        raise ValueError(
            f"model: the source of {module}:{name} cannot be read: define it in a file, or give "
            "the Subject a model_version"
        ) from error
    return {"module": module, "name": name, "source": _digest(content)}


def _modules_in(identity: Any) -> set[str]:
    """Modules of the functions and classes that an `_identity_of` names."""
    if isinstance(identity, list):
        return set().union(*map(_modules_in, identity))
    if not isinstance(identity, dict):
        return set()
    if identity.keys() == {"module", "name", "source"}:
        return {identity["module"]}
    return set().union(*map(_modules_in, identity.values()))


def _sources(modules: set[str]) -> dict[str, str]:
    """Digests of the modules' own sources and of all that they take names from, by module.

    Imports are read off the sources, those within functions and of mere constants too, and no
    module is imported for it: so nothing depends on what a process happens to have imported.
    """
    digests: dict[str, str] = {}
    left = sorted(modules)
    while left:
        name = left.pop()
        path, package = _file(name)
        if name in digests or path is None or _is_versioned(path):
            continue
        content = path.read_bytes()
        digests[name] = _digest(content)
        if path.suffix == ".py":
            with _PARSING:
                tree = ast.parse(content)
            left += _imports(tree, package)
    return dict(sorted(digests.items()))


def _file(module: str) -> tuple[Path | None, str]:
    """The file of a module, None where there is none, and the package that it lies in."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return (Path(file).resolve() if file else None), getattr(loaded, "__package__", None) or ""
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a loaded module without a spec, such as __main__
        return None, ""
    for part in parts:
        within = spec.submodule_search_locations if spec is not None else None
        if spec is None or within is None:
            return None, ""
        spec = PathFinder.find_spec(f"{spec.name}.{part}", within)
    if spec is None or not spec.has_location or spec.origin is None:
        return None, ""
    return Path(spec.origin).resolve(), spec.parent or ""


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Modules that a source imports or takes names from, and those names: they may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from accumulate(alias.name.split("."), "{}.{}".format)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            above = above[: len(above) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _is_versioned(path: Path) -> bool:
    if path.is_relative_to(_PACKAGE):
        return not path.is_relative_to(_PACKAGE / "models")
    return bool(_INSTALLED.intersection(path.parts)) or any(map(path.is_relative_to, _VERSIONED))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
