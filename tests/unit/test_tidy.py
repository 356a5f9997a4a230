"""The source text itself keeps the house rules.

Each rule reads one file and yields findings; every rule is shown to catch a bad snippet and to
leave a good one alone. Generated code (`iso_exchange/api`) is exempt.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("clearing/", "settlement/", "iso_exchange/")
CORES = ("clearing/", "settlement/")
GENERATED = "iso_exchange/api/"

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
BANNED_NAMES = frozenset({"utils", "util", "helpers", "helper", "manager", "managers", "common"})
IMPURE_MODULES = frozenset(
    {"asyncio", "getpass", "logging", "os", "random", "secrets", "socket", "subprocess", "tempfile"}
    | {"time", "uuid"}
)
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})
FLOAT_ATTRIBUTES = re.compile(r"(float|double|longdouble|half)\d*_?")
# Written with character classes, so that no pattern matches its own text.
REGISTRY = re.compile(
    r"index[-]url|\bregistry = \{?\"?http|\"resolved\": \"http"
    r"|https?:[/]/[^\s\"']+/simple\b|https?:[/]/[^\s\"']+\.(?:whl|tgz)\b"
    r"|files[.]pythonhosted[.]org|registry[.]npmjs[.]org",
)
HOME_PATH = re.compile(
    r"(?<![\w./~-])/(?:home|Users)/[\w.-]+/|(?<![\w./~-])/[r]oot/|[A-Z]:\\Users\\"
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One text file; `path` is relative to the repository and uses `/`."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_python(self) -> bool:
        return self.path.endswith((".py", ".pyi"))


@dataclass(frozen=True, kw_only=True)
class Finding:
    line: int
    text: str


Check = Callable[[Source], Iterator[Finding]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A check, the files it reads, and a bad and a good example of each kind it must tell apart."""

    name: str
    check: Check
    applies: Callable[[str], bool]
    bad: tuple[Source, ...]
    good: tuple[Source, ...]


def in_python(path: str) -> bool:
    return path.endswith(".py") and not path.startswith(GENERATED)


def in_modules(path: str) -> bool:
    # An auditor reads one file from top to bottom, and runs it alone.
    return in_python(path) and path != "docs/verify_ledger.py"


def in_product(path: str) -> bool:
    return in_python(path) and path.startswith(PRODUCT)


def in_cores(path: str) -> bool:
    return in_python(path) and path.startswith(CORES)


def in_money_code(path: str) -> bool:
    exact = path == "clearing/units.py" or path.startswith(
        ("settlement/", "clearing/verify", "clearing/checks/")
    )
    return in_python(path) and exact


def in_any_text(path: str) -> bool:
    return not path.startswith(GENERATED)


def function_length(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                text = f"{node.name} has {length} lines, at most {FUNCTION_LINES_MAX} are allowed"
                yield Finding(line=node.lineno, text=text)


def module_length(source: Source) -> Iterator[Finding]:
    if len(source.lines) > MODULE_LINES_MAX:
        text = f"{len(source.lines)} lines, at most {MODULE_LINES_MAX} are allowed"
        yield Finding(line=MODULE_LINES_MAX + 1, text=text)


def module_name(source: Source) -> Iterator[Finding]:
    for part in Path(source.path).with_suffix("").parts:
        if part in BANNED_NAMES:
            yield Finding(line=1, text=f"a module named {part} says nothing: name what it holds")


def true_division(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            text = "`/` makes a float: use // or the rounding of clearing.units"
            yield Finding(line=node.lineno, text=text)


def floats(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id in {"float", "complex"}:
            yield Finding(
                line=node.lineno, text=f"the name {node.id}: money and quantities are int"
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield Finding(line=node.lineno, text=f"the literal {node.value!r} is no integer")
        elif isinstance(node, ast.Attribute) and FLOAT_ATTRIBUTES.fullmatch(node.attr):
            yield Finding(line=node.lineno, text=f".{node.attr}: money and quantities are int")


def impure_imports(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] in IMPURE_MODULES or name.startswith("numpy.random"):
                text = f"imports {name}: clocks, chance, logs and the system are the caller's"
                yield Finding(line=node.lineno, text=text)


def impure_calls(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        called = f"{owner}.{node.func.attr}"
        if node.func.attr in CLOCK_CALLS and owner.split(".")[-1] in {"date", "datetime"}:
            yield Finding(line=node.lineno, text=f"{called}() reads the clock: take the time")
        elif owner in {"np.random", "numpy.random"} and not (
            node.func.attr == "default_rng" and (node.args or node.keywords)
        ):
            yield Finding(line=node.lineno, text=f"{called}() draws by chance: take a seed")


def registry_address(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := REGISTRY.search(line):
            yield Finding(line=number, text=f"names a package registry: {found.group()}")


def machine_path(source: Source) -> Iterator[Finding]:
    patterns = [HOME_PATH]
    # A checkout two levels deep names its parent only by mistake; /tmp or / would say nothing.
    if len(ROOT.parts) > 2 and ROOT.parent not in {Path("/tmp"), Path("/srv"), Path("/opt")}:
        patterns.append(re.compile(rf"(?<![\w.]){re.escape(str(ROOT.parent))}/[\w.-]+"))
    for number, line in enumerate(source.lines, 1):
        for pattern in patterns:
            if found := pattern.search(line):
                yield Finding(line=number, text=f"a path of one machine: {found.group()}")


def unfinished(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := UNFINISHED.search(line):
            yield Finding(line=number, text=f"{found.group()}: finish it or leave it out")


def bad(path: str, *texts: str) -> tuple[Source, ...]:
    return tuple(Source(path=path, text=text) for text in texts)


good = bad


def a_function(lines: int) -> str:
    return "def settle():\n" + "    x = 1\n" * (lines - 1)


RULES = (
    Rule(
        name="functions-are-short",
        check=function_length,
        applies=in_python,
        bad=bad("clearing/a.py", a_function(71), "async " + a_function(71)),
        good=good("clearing/a.py", a_function(70)),
    ),
    Rule(
        name="modules-are-short",
        check=module_length,
        applies=in_modules,
        bad=bad("clearing/a.py", "x = 1\n" * 601),
        good=good("clearing/a.py", "x = 1\n" * 600),
    ),
    Rule(
        name="module-names-say-something",
        check=module_name,
        applies=in_python,
        bad=bad("clearing/utils.py", "") + bad("settlement/common/ledger.py", ""),
        good=good("clearing/units.py", ""),
    ),
    Rule(
        name="no-true-division-in-money-code",
        check=true_division,
        applies=in_money_code,
        bad=bad("settlement/a.py", "x = a / b\n", "x /= 2\n")
        + bad("clearing/units.py", "x = a / b"),
        good=good("settlement/a.py", "x = a // b  # a / b\n", "x = 'a / b'\n"),
    ),
    Rule(
        name="no-float-in-money-code",
        check=floats,
        applies=in_money_code,
        bad=bad("clearing/verify.py", "x = 0.5\n", "x = float(y)\n", "def f(x: float): ...\n")
        + bad("settlement/a.py", "x = 1e6\n", "x = np.float64(1)\n", "x = y.astype(np.double)\n"),
        good=good("settlement/a.py", "x = 500_000\n", "x = '0.5'  # 0.5\n", "x = y.floats\n"),
    ),
    Rule(
        name="cores-import-nothing-impure",
        check=impure_imports,
        applies=in_cores,
        bad=bad("clearing/a.py", *(f"import {name}\n" for name in sorted(IMPURE_MODULES)))
        + bad("settlement/a.py", "from os import environ\n", "import os.path\n")
        + bad("settlement/a.py", "def f():\n    import time\n", "from numpy import random\n"),
        good=good("settlement/a.py", "import datetime\nimport hashlib\nfrom .time import x\n"),
    ),
    Rule(
        name="cores-read-no-clock-and-draw-no-numbers",
        check=impure_calls,
        applies=in_cores,
        bad=bad("settlement/a.py", "x = datetime.now()\n", "x = datetime.datetime.now(tz=UTC)\n")
        + bad("settlement/a.py", "x = date.today()\n", "x = datetime.utcnow()\n")
        + bad("clearing/a.py", "x = np.random.rand(3)\n", "x = np.random.default_rng()\n"),
        good=good("clearing/a.py", "x = np.random.default_rng(seed)\n", "x = clock.now\n"),
    ),
    Rule(
        name="no-registry-address",
        check=registry_address,
        applies=in_any_text,
        bad=bad("a.lock", "--extra-index" + "-url x", "https:/" + "/pypi.example/simple/")
        + bad("b.json", '"resolved": "ht' + "tp", "https:/" + "/x.example/a.whl"),
        good=good("README.md", "https:/" + "/example.org/simplest", "an index of urls"),
    ),
    Rule(
        name="no-path-of-one-machine",
        check=machine_path,
        applies=in_any_text,
        bad=bad("a.md", "see /ho" + "me/ada/code", "cd /ro" + "ot/x", "C:\\Use" + "rs\\ada"),
        good=good(
            "a.md", "https:/" + "/example.org/home/x", "~/code", "../shared/data", "/var/lib"
        ),
    ),
    Rule(
        name="nothing-unfinished",
        check=unfinished,
        applies=in_product,
        bad=bad("iso_exchange/a.py", "# TO" + "DO later\n", "raise NotImplemented" + "Error\n")
        + bad("iso_exchange/a.py", "x = 1  # FIX" + "ME\n"),
        good=good("iso_exchange/a.py", "x = NotImplemented\n", "todos = ()\n"),
    ),
)


def tracked_paths() -> list[str]:
    """Every file that git would commit; without git, all files outside hidden and built folders."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return sorted({path for path in listed.stdout.split("\0") if path})
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(map(is_left_out, path.parts[:-1])))


def is_left_out(folder: str) -> bool:
    hidden = folder.startswith(".") and folder != ".ci"
    return hidden or folder in {"__pycache__", "build", "dist", "var"}


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    found = []
    for name in tracked_paths():
        path = ROOT / name
        if not path.is_file():  # deleted in the work tree, still in the index
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            found.append(Source(path=name, text=content.decode("utf-8", errors="replace")))
    return found


def findings(rule: Rule, sources: list[Source] | tuple[Source, ...]) -> list[str]:
    return [
        f"{source.path}:{finding.line}: {finding.text}"
        for source in sources
        if rule.applies(source.path)
        for finding in rule.check(source)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_source_keeps(rule: Rule, sources: list[Source]) -> None:
    broken = findings(rule, sources)
    assert not broken, f"{rule.name}:\n" + "\n".join(broken)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_catches_each_bad_snippet(rule: Rule) -> None:
    missed = [source for source in rule.bad if not findings(rule, (source,))]
    assert rule.bad
    assert not missed


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_accepts_each_good_snippet(rule: Rule) -> None:
    assert rule.good
    assert findings(rule, rule.good) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_leaves_generated_code_alone(rule: Rule) -> None:
    generated = GENERATED + "v1/order_pb2.py"
    moved = tuple(Source(path=generated, text=source.text) for source in rule.bad)
    assert findings(rule, moved) == []


def test_finding_names_file_and_line() -> None:
    rule = next(rule for rule in RULES if rule.name == "no-float-in-money-code")
    source = Source(path="settlement/a.py", text="x = 1\ny = 0.5\n")
    assert findings(rule, [source]) == ["settlement/a.py:2: the literal 0.5 is no integer"]


def test_the_source_is_found(sources: list[Source]) -> None:
    paths = {source.path for source in sources}
    assert {f"{root}__init__.py" for root in PRODUCT} <= paths
    assert not [path for path in paths if path.startswith(".venv")]
