"""Finds the user's own code without importing it: a named module and what it imports from the same project.

Imports are read from the source. Modules that code imports by a computed name are not found.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from orchestrator.study.config import TrialConfig

_HESSIAN_DYNAMICS = ("orchestrator", "estimators")
"""Packages that a user's checkout may contain. Their commit is recorded instead of their source."""
_TORCH = "torch"
"""Sweep files may name its classes, such as ``torch.optim:NAdam``. Its version is recorded instead of its source."""
NOT_OWN = (*_HESSIAN_DYNAMICS, _TORCH)
"""Packages that call the user's code and are not part of it."""
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))

_imported: dict[str, bytes] = {}
"""Maps modules of the user's code to their source when this process imported them."""


def importable_from(folder: str) -> None:
    """Appends a folder to `sys.path`. Installed modules take precedence over its modules."""
    if folder not in sys.path:
        sys.path.append(folder)


def own_code(config: TrialConfig) -> dict[str, bytes]:
    """Maps the modules of the user's own code in a trial to their source, in alphabetical order.

    The source is the one that this process imported, or the current one if it has not imported the module.
    """
    importlib.invalidate_caches()
    return dict(sorted(entry for module in named_modules(config) for entry in _project_code(module).items()))


def named_modules(config: TrialConfig) -> set[str]:
    """Returns the modules of the user's own code that a trial names as ``package.module:attribute``."""
    return {name.partition(":")[0] for name in own_names(config)}


def own_names(config: TrialConfig) -> list[str]:
    """Returns the names of the user's own code in a trial, such as ``my_nets:Net``."""
    names = [value for key, value in config.flat().items() if key.rpartition(".")[2] == "name"]
    names += [estimator.name for estimator in config.measurement.estimators]
    return [name for name in names if isinstance(name, str) and is_own(name)]


def is_own(name: str) -> bool:
    """Whether a name in a sweep file names the user's own code. Classes of torch are not the user's."""
    return ":" in name and name.partition(":")[0].partition(".")[0] != _TORCH


def code_digests(code: dict[str, bytes]) -> dict[str, str]:
    """Maps the modules to the SHA-256 digests of their source."""
    return {module: hashlib.sha256(content).hexdigest() for module, content in code.items()}


def note_import(module: str) -> None:
    """Remembers the source of a module that is about to be imported, since its file may change later."""
    _imported.update(_project_code(module))


def find_module(module: str) -> ModuleSpec | None:
    """Returns the spec of a module without importing its parent packages; None if it is not found."""
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # such as `__main__`
        return None
    for part in parts:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


def _project_code(module: str) -> dict[str, bytes]:
    package = module.partition(".")[0]
    root = _root(package)
    found: dict[str, bytes] = {}
    pending, seen = [module], set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = find_module(name)
        file = Path(spec.origin) if spec and spec.origin and spec.has_location else None
        if spec is None or file is None or not _in_project(name, file, package, root):
            continue
        parent = name.rpartition(".")[0]
        pending += [parent] if parent else []  # importing a module runs its parent packages
        if (content := _content(name, file)) is not None:
            found[name] = content
            pending += _imports(content, parent if spec.submodule_search_locations is None else name)
    return found


def _root(package: str) -> Path | None:
    """Returns the folder of the project; None if the package is installed among packages of other projects."""
    spec = find_module(package)
    paths = [spec.origin] if spec and spec.has_location else list((spec and spec.submodule_search_locations) or ())
    if not paths or paths[0] is None:
        return None
    path = Path(paths[0])
    folder = path.parent.parent if spec and spec.has_location and spec.submodule_search_locations else path.parent
    return None if _installed(folder / "x") else folder


def _in_project(name: str, file: Path, package: str, root: Path | None) -> bool:
    top = name.partition(".")[0]
    if top in _HESSIAN_DYNAMICS:
        return False
    return top == package or (root is not None and file.is_relative_to(root) and not _installed(file))


def _installed(file: Path) -> bool:
    return any(part in _INSTALLED for part in file.parts) or file.is_relative_to(_STANDARD_LIBRARY)


def _content(module: str, file: Path) -> bytes | None:
    if module in sys.modules and module in _imported:
        return _imported[module]
    try:
        return file.read_bytes()
    except OSError:  # importing the module reports the error
        return None


def _imports(content: bytes, package: str) -> Iterator[str]:
    """Yields the modules that a source may import; `package` is the one that relative imports start from."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # importing the module reports the error; compiled modules are not parsed
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
