"""A test's lines, split in what a program evaluates and what is judged from the values it gives.

    assert f(3) == [1, 2]             the program: f(3)      the judge: value == [1, 2]
    assert isclose(f(x), 0.5)         the program: f(x)      the judge: isclose(value, 0.5)
    assert Stack(3).pop() == 3        the program: Stack(3).pop()

Names that are neither Python's, nor of the standard library, nor bound by the tests' own lines are
the program's. A call of such a name is the program's with all in its brackets; what is around it is
the judge's. Of a class (a name with a capital) one method's call belongs to it, since an object is
no value to be compared. A test that calls no such name, `assert sum(10, 15) == 6`, means the name
that it calls first.

So the program never sees what its values are compared with. What a test reveals to a program, or
asks it to say itself, it can use: the truth of `assert f(3)` can be guessed.
"""

import ast
import builtins
import symtable
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adept_llm.errors import InputError

KNOWN = frozenset(dir(builtins)) | sys.stdlib_module_names
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
Step = tuple[str, str]
Statements = list[ast.stmt]


@dataclass(frozen=True)
class SplitTests:
    """Tests in two parts.

    Attributes:
        steps: What the program's process does in turn: ("run", lines), or ("value", expression).
        names: What the judge calls the values, in turn.
        judged: Lines for the judge, who has the values under these names.
    """

    steps: tuple[Step, ...]
    names: tuple[str, ...]
    judged: str


def split_tests(lines: Sequence[str]) -> SplitTests:
    """Split the tests of a program.

    Args:
        lines: Python; assertions, and what they need.

    Raises:
        InputError: They are no Python, or assert something in a loop or a function.
    """
    try:
        statements = ast.parse("\n".join(lines)).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"tests of a program: {error}; give lines of Python") from error
    names = _Names()
    splitter = _Splitter()
    judged: Statements = []
    steps: list[Step] = []
    for statement in statements:
        used = _referenced(statement)
        if isinstance(statement, ast.Assert):
            judged.append(ast.Assert(splitter.split(statement.test, used - names.known())))
            parts = splitter.take()
            used = frozenset().union(*(_referenced(ast.parse(part).body[0]) for _, part in parts))
            names.lend(used)
            steps += parts
        elif any(isinstance(inner, ast.Assert) for inner in ast.walk(statement)):
            raise _unsplit(statement)
        elif names.foreign_to(statement):
            names.lend(used | _bound(statement))
            steps.append(("run", ast.unparse(statement)))
        else:
            names.bind(statement)
            judged.append(statement)
            steps.append(("run", ast.unparse(statement)))
    steps = _without_what_only_the_judge_needs(steps, judged)
    modules = sorted(_names_in(judged) & sys.stdlib_module_names - names.bound)
    imports = [f"import {name}" for name in modules if not hasattr(builtins, name)]
    return SplitTests(
        tuple(steps),
        tuple(splitter.names),
        "\n".join([*imports, *map(ast.unparse, map(ast.fix_missing_locations, judged))]),
    )


class _Names:
    """Whose the names are that the tests' lines have bound so far."""

    def __init__(self) -> None:
        self.bound: frozenset[str] = frozenset()
        self.of_program: frozenset[str] = frozenset()
        self.definitions: frozenset[str] = frozenset()

    def known(self) -> frozenset[str]:
        """Those that mean the same to the program and to the judge."""
        return (KNOWN | self.bound) - self.of_program

    def foreign_to(self, statement: ast.stmt) -> frozenset[str]:
        """Names that a line needs of the program; what a loop binds it has of itself."""
        foreign = _referenced(statement) - self.known()
        loops = isinstance(statement, ast.For | ast.While | ast.If | ast.With | ast.Try)
        return foreign - (_bound(statement) - self.of_program) if loops else foreign

    def bind(self, statement: ast.stmt) -> None:
        """A line that needs nothing of the program."""
        names = _bound(statement)
        self.bound |= names
        self.of_program -= names
        if isinstance(statement, DEFINITIONS):
            self.definitions |= names

    def lend(self, names: frozenset[str]) -> None:
        """What the program has had in its hands, it may have changed, as it sorts a list."""
        self.bound |= names - KNOWN
        self.of_program |= names - KNOWN - self.definitions


class _Splitter(ast.NodeTransformer):
    """Puts a name in the place of each part of an expression that is the program's."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.steps: list[Step] = []
        self.of_program: frozenset[str] = frozenset()

    def split(self, test: ast.expr, of_program: frozenset[str]) -> ast.expr:
        self.of_program = of_program
        if not self.of_program:
            calls = (one.func for one in ast.walk(test) if isinstance(one, ast.Call))
            names = (_root(one) for one in calls)
            self.of_program = frozenset(name for name in list(names)[:1] if name)
        split: ast.expr = self.visit(test)
        return split

    def take(self) -> list[Step]:
        steps, self.steps = self.steps, []
        return steps

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp):
            return self._closed(node)
        if isinstance(node, ast.GeneratorExp):
            return self._closed(node)
        chain = _chain(node)
        root = chain[-1] if chain else None
        if not isinstance(root, ast.Name) or root.id not in self.of_program:
            return self.generic_visit(node)
        if any(_is_whole_call(inner) for inner in chain[1:]):
            return self.generic_visit(node)
        name = f"value_{len(self.names)}_of_program"
        self.names.append(name)
        self.steps.append(("value", ast.unparse(node)))
        return ast.Name(name, ast.Load())

    def _closed(self, node: ast.AST) -> ast.AST:
        """What has names of its own: only what its first loop goes over is evaluated outside."""
        generators: list[ast.comprehension] = getattr(node, "generators", [])
        if generators:
            generators[0].iter = self.visit(generators[0].iter)
        if _names_in([node]) & self.of_program:
            raise _unsplit(node)
        return node


def _chain(node: ast.AST) -> list[ast.AST]:
    """The expression, what it is taken or called from, and so on: f(x).y[0], f(x).y, f(x), f."""
    chain: list[ast.AST] = []
    while True:
        if isinstance(node, ast.Call):
            following: ast.AST = node.func
        elif isinstance(node, ast.Attribute | ast.Subscript):
            following = node.value
        else:
            return [*chain, node] if isinstance(node, ast.Name) else []
        chain.append(node)
        node = following


def _root(node: ast.AST) -> str:
    chain = _chain(node)
    return chain[-1].id if chain and isinstance(chain[-1], ast.Name) else ""


def _is_whole_call(node: ast.AST) -> bool:
    """A call that gives a value, not an object of a class."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else _root(called)
    return not name[:1].isupper()


def _without_what_only_the_judge_needs(steps: list[Step], judged: Statements) -> list[Step]:
    """Leave out assignments that nothing of the program's refers to: they may be the answer."""
    ours = {ast.unparse(one) for one in judged}
    needed: frozenset[str] = frozenset()
    kept: list[Step] = []
    for kind, source in reversed(steps):
        (statement,) = ast.parse(source).body
        only_ours = kind == "run" and source in ours and not isinstance(statement, DEFINITIONS)
        if only_ours and not _bound(statement) & needed:
            continue
        needed |= _referenced(statement)
        kept.append((kind, source))
    return kept[::-1]


def _referenced(statement: ast.stmt) -> frozenset[str]:
    """Names from outside that a statement reads or changes."""
    table = symtable.symtable(ast.unparse(statement), "test", "exec")
    found = {one.get_name() for one in table.get_symbols() if one.is_referenced()}
    if isinstance(statement, ast.AugAssign | ast.Delete):
        found |= _bound(statement) | _names_in([statement])
    inner = table.get_children()
    while inner:
        scope = inner.pop()
        found |= {one.get_name() for one in scope.get_symbols() if one.is_global()}
        inner += scope.get_children()
    return frozenset(found)


def _bound(statement: ast.stmt) -> frozenset[str]:
    """Names that a statement gives a meaning."""
    symbols = symtable.symtable(ast.unparse(statement), "test", "exec").get_symbols()
    return frozenset(one.get_name() for one in symbols if one.is_assigned() or one.is_imported())


def _names_in(nodes: Sequence[ast.AST]) -> frozenset[str]:
    inner = (one for node in nodes for one in ast.walk(node))
    return frozenset(one.id for one in inner if isinstance(one, ast.Name))


def _unsplit(node: ast.AST) -> InputError:
    return InputError(
        f"tests of a program: '{ast.unparse(node)}' asks the program inside of a loop or function; "
        "write an assert of its own for each call"
    )
