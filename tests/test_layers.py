"""Who may import whom, what may be loaded when, and what must not stand in the code at all."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"
LAYERS = (
    ("errors", "artifacts", "clock", "closed", "dry", "environment", "events", "failpoint", "jsontext", "places", "safe"),
    ("yamlfile", "records", "secrets", "retry", "host", "source"),
    ("schema", "stage", "say"),
    ("testing", "tools"),
    ("runner",),
    ("sync", "build", "push", "deploy", "verify", "provision", "drivers", "generate", "tunnel", "gitops"),
    ("opened",),
    ("plan",),
    ("chain", "line", "menu", "report", "lab", "doctor", "ci", "changed", "prune", "init"),
    ("operate", "infra", "ending", "charts", "tagging", "suite"),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LONGEST = 500  # lines of a module
HEAVY = ("fabric", "paramiko", "docker", "kubernetes", "rich", "plumbum", "tenacity", "cloudflare", "copier")
NEVER_EARLY = (*HEAVY, "cryptography", "asyncio")
OF_INVOKE = {"asyncio"}  # invoke.context imports unittest.mock, and that asyncio


@dataclass(frozen=True)
class Import:
    """One import statement: the module it stands in, what it names, whether it runs when the module is loaded, or never."""

    module: str
    names: str
    line: int
    at_top: bool
    for_types: bool


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def visit(node: ast.AST, at_top: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, alias.name, child.lineno, at_top, for_types)
            elif isinstance(child, ast.ImportFrom):
                base = package.rsplit(".", child.level - 1)[0] if child.level else ""
                name = ".".join(filter(None, (base, child.module)))
                if name == "pipeline":
                    for alias in child.names:
                        yield Import(module, f"pipeline.{alias.name}", child.lineno, at_top, for_types)
                else:
                    yield Import(module, name, child.lineno, at_top, for_types)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from visit(ast.Module(child.body, []), at_top, True)
                yield from visit(ast.Module(child.orelse, []), at_top, for_types)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, at_top and not inside, for_types)

    yield from visit(tree(path), True, False)


@functools.cache
def every() -> tuple[Import, ...]:
    """All imports of the package."""
    return tuple(found for module, path in modules().items() for found in imports(module, path))


def home(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def wrong(found: Import) -> bool:
    """Whether an import goes up, or sideways."""
    here, there = home(found.module), home(found.names)
    if found.names.split(".")[0] != "pipeline" or not here or here == there:
        return False  # somebody else's, or the package's own names, or the same package
    return LEVEL[there] >= LEVEL[here]


def test_every_module_has_its_layer() -> None:
    homes = {home(module) for module in modules()} - {""}
    assert homes - LEVEL.keys() == set(), "a new package: say which layer it is"
    assert LEVEL.keys() - homes == set(), "a layer of something that is not there"


def test_imports_go_down() -> None:
    assert [f"{found.module}:{found.line} imports {found.names}" for found in every() if wrong(found)] == []


@pytest.mark.parametrize(
    ("module", "names", "for_types", "refused"),
    [
        ("pipeline.errors", "pipeline.clock", False, True),
        ("pipeline.records.file", "pipeline.errors", False, False),
        ("pipeline.tools.git", "pipeline.runner", False, True),
        ("pipeline.push.skopeo", "pipeline.build.nix", False, True),
        ("pipeline.push.skopeo", "pipeline.push.relay", False, False),
        ("pipeline.push.skopeo", "pipeline.plan", False, True),
        ("pipeline.stage", "pipeline.runner", True, True),
        ("pipeline.tools.git", "pipeline.testing", False, True),
        ("pipeline.runner.act", "pipeline.runner.walk", False, False),
        ("pipeline.errors", "json", False, False),
        ("pipeline", "pipeline.cli", False, False),
    ],
)
def test_the_rule_itself(module: str, names: str, for_types: bool, refused: bool) -> None:
    assert wrong(Import(module, names, 1, True, for_types)) == refused


def test_the_reader_of_imports_sees_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import a\nfrom b.c import d\nfrom pipeline import errors, plan\nfrom . import y\nfrom .z import w\n"
        "if TYPE_CHECKING:\n    import e\nelse:\n    import f\ndef g():\n    import h\n"
        "class K:\n    import k\ntry:\n    import t\nexcept E:\n    import u\n"
    )
    found = {(each.names, each.at_top, each.for_types) for each in imports("pipeline.push.x", path)}
    assert found == {
        ("a", True, False), ("b.c", True, False), ("pipeline.errors", True, False), ("pipeline.plan", True, False),
        ("pipeline.push", True, False), ("pipeline.push.z", True, False), ("e", True, True), ("f", True, False),
        ("h", False, False), ("k", True, False), ("t", True, False), ("u", True, False),
    }  # fmt: skip


def test_heavy_packages_are_imported_at_the_top_of_their_wrapper_only() -> None:
    """One package each, and nobody imports the wrapper at the top but modules of its own package."""
    tops = {(found.module, found.names.split(".")[0]) for found in every() if found.at_top and not found.for_types}
    wrappers = {module for module, name in tops if name in HEAVY}
    for heavy in HEAVY:
        homes = {home(module) for module, name in tops if name == heavy}
        assert len(homes) <= 1, f"{heavy} is wrapped in {homes}"
    early = [
        f"{found.module}:{found.line} imports {found.names}"
        for found in every()
        if found.names in wrappers and found.at_top and not found.for_types and home(found.module) != home(found.names)
    ]
    assert early == []


def loaded_by(script: str) -> list[str]:
    code = f"{script}\nimport sys; print(sorted(sys.modules.keys() & {set(NEVER_EARLY)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: list[str] = ast.literal_eval(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "script",
    [
        "import pipeline",
        "import pipeline; blueprint = pipeline.load('config', 'ihp-railiance-probe', env='lab'); assert len(blueprint.plan) == 5",
        "import pipeline; pipeline.load('config', 'ihp-railiance-probe', 'production').site(); pipeline.run; pipeline.verify_live",
        "from pipeline.report import sink_for; import sys; sink_for('auto', sys.stderr).close()",
    ],
)
def test_a_light_start(script: str) -> None:
    assert loaded_by(script) == []


@pytest.mark.parametrize("script", ["import pipeline.cli", "from pipeline import *", "import pipeline; pipeline.collection('config')"])
def test_the_tasks_start_as_light_as_invoke(script: str) -> None:
    assert set(loaded_by(script)) <= OF_INVOKE
    assert set(loaded_by("import invoke")) <= OF_INVOKE


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = "import sys, pipeline; print([name for name in sys.modules if name.startswith('pipeline.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    code = (
        "import pipeline; print(all(getattr(pipeline, name) for name in pipeline.__all__))\n"
        "print(sorted(dir(pipeline)) == sorted(pipeline.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def text_of(pattern: str) -> list[str]:
    found = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules().values()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if found.search(line)
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        r"shell\s*=\s*True",
        r"\bos\.(system|popen|spawn\w*)\b",
        r"\bsubprocess\.(getoutput|getstatusoutput)\b",
        r"AutoAddPolicy|WarningPolicy",
        r"StrictHostKeyChecking[= ](no|accept-new|off)",
        r"--set(-string)?\b(?!-)",
        r"\bTODO\b|\bFIXME\b|\bXXX\b",
        r"yaml\.(load\((?!.*SafeLoader)|unsafe_load|full_load)",
        r"pickle\.loads?\b|\beval\(|(?<![.\w])exec\(",
        r"verify\s*=\s*False|CERT_NONE|_create_unverified_context",
        r"\bmktemp\(",
    ],
)
def test_what_must_not_stand_in_the_code(pattern: str) -> None:
    assert text_of(pattern) == []


def bare_prints(path: Path) -> list[int]:
    """The lines of `path` that write to stdout by themselves."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)]
    return [call.lineno for call in calls if re.search(r"^print$|\bstdout(\.buffer)?\.write$", ast.unparse(call.func))]


def test_g01_what_is_shown_goes_one_way() -> None:
    """Through pipeline.say, which cleans and masks it; but for what runs as a process of its own, on a machine of the lab."""
    own = ("pipeline.say", "pipeline.lab.init", "pipeline.lab.samples")
    found = {module: lines for module, path in modules().items() if (lines := bare_prints(path)) and not module.startswith(own)}
    assert found == {}


def test_g01_a_bare_print_is_seen(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f():\n    print(1)\n    sys.stdout.write('2')\n    console.print(3)\n    say(4)\n")
    assert bare_prints(tmp_path / "x.py") == [2, 3]


def test_modules_say_what_they_are_and_stay_small() -> None:
    for module, path in modules().items():
        text = path.read_text()
        if text.strip():
            assert ast.get_docstring(tree(path)), f"{module} does not say what it is"
    large = {module: lines for module, path in modules().items() if (lines := len(path.read_text().splitlines())) > LONGEST}
    assert large == {}
