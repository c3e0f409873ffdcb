"""Where compiled kernels write: every store at an index that is not plain, found in their sources.

A kernel's store at a wrong index is memory of the process overwritten, in the build that is shipped without bounds
checks. Plain are constants, and loops over an array's own length; for each other store, tests/test_kernel_stores.py has
a reason why its index lies inside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.places import ROOT

DECORATORS = ("kernel", "kernel_entry", "kernel_lean", "kernel_inline")
GROWING = ("extra_row", "extra_column", "extra_value", "text", "cursor")
"""The fields of capture.dissect.packet.table.LineTable that only its own functions may write."""


@dataclass(frozen=True, order=True)
class Store:
    """A store: the module, the kernel, the array, and the parts of its index that are not plain."""

    module: str
    kernel: str
    array: str
    index: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it is, whatever the index."""
        return self.module, self.kernel, self.array


def kernels(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield the compiled functions of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(each, ast.Name) and each.id in DECORATORS for each in node.decorator_list
        ):
            yield node


def targets(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a statement assigns to."""
    if isinstance(node, ast.Assign):
        found = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        found = [node.target]
    else:
        return
    while found:
        target = found.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            found += target.elts
        else:
            yield target


def aliases(kernel: ast.FunctionDef) -> dict[str, str]:
    """Return the local names of arrays, and what each stands for: `side = apps.side`."""
    found: dict[str, str] = {}
    for node in ast.walk(kernel):
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Attribute, ast.Subscript, ast.Tuple)):
            pairs = zip(
                node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets,
                node.value.elts if isinstance(node.value, ast.Tuple) else [node.value],
                strict=False,
            )
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, (ast.Attribute, ast.Subscript)):
                    found[name.id] = ast.unparse(value)
    return found


def loops(kernel: ast.FunctionDef) -> set[str]:
    """Return the variables of loops over constants or over the length of an array, and of no other loop."""
    plain: set[str] = set()
    other: set[str] = set()
    for node in ast.walk(kernel):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            over = node.iter
            bounded = isinstance(over, ast.Call) and ast.unparse(over.func) == "range" and all(map(bound, over.args))
            (plain if bounded else other).add(node.target.id)
        other |= {each.id for each in targets(node) if isinstance(each, ast.Name)}
    return plain - other


def bound(node: ast.expr) -> bool:
    """Return whether an expression is made of constants and of lengths of arrays."""
    if isinstance(node, ast.BinOp):
        return bound(node.left) and bound(node.right)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        return called == "len" or (called == "min" and all(map(bound, node.args)))
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    return constant(node)


def constant(node: ast.expr) -> bool:
    """Return whether an expression is a number or a constant's name."""
    if isinstance(node, ast.UnaryOp):
        return constant(node.operand)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


def stores(source: str, module: str) -> Iterator[Store]:
    """Yield the stores of a module's kernels whose index is not plain, and all into growing tables."""
    for kernel in kernels(ast.parse(source)):
        known, plain = aliases(kernel), loops(kernel)
        for node in ast.walk(kernel):
            for target in targets(node):
                if isinstance(target, ast.Subscript):
                    parts = target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice]
                    odd = [
                        ast.unparse(part)
                        for part in parts
                        if not (isinstance(part, ast.Slice) or constant(part) or named(part, plain))
                    ]
                    array = ast.unparse(target.value)
                    array = known.get(array, array)
                    if odd or array.rpartition(".")[2] in GROWING:
                        yield Store(module, kernel.name, array, ", ".join(odd))


def named(node: ast.expr, names: set[str]) -> bool:
    """Return whether an expression is one of some names."""
    return isinstance(node, ast.Name) and node.id in names


def all_stores() -> list[Store]:
    """Return the stores of all kernels of the packages."""
    found: list[Store] = []
    for package in ("capture", "stream", "inference", "decision"):
        for path in sorted((ROOT / package).rglob("*.py")):
            source = path.read_text()
            if "@kernel" in source:
                found += stores(source, str(path.relative_to(ROOT).with_suffix("")).replace("/", "."))
    return found
