"""Programs are known by what they are made of, and made of what they should be."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import pytest

from pipeline.errors import BuildError, Cancelled, ConfigError
from pipeline.lab import building, hollow_flux, node, programs, toolchain
from pipeline.lab.programs import RECIPES, Recipe, key

HELM = RECIPES["helm"]


def test_the_key_follows_the_content() -> None:
    assert key(HELM, "1.26.8") == key(dataclasses.replace(HELM, usual=1), "1.26.8")
    others = {
        key(dataclasses.replace(HELM, version="v4.3.2"), "1.26.8"),
        key(HELM, "1.26.9"),
        key(HELM, "1.26.8", "other source"),
        key(dataclasses.replace(HELM, cgo=True), "1.26.8"),
        key(dataclasses.replace(HELM, flags=()), "1.26.8"),
        key(dataclasses.replace(HELM, cflags="-O1"), "1.26.8"),
    }
    assert len(others | {key(HELM, "1.26.8")}) == 7


def test_the_cache_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert programs.find("kubelab", "1.26.8").parent == tmp_path / "pipeline-lab" / "programs"


def test_an_unknown_program() -> None:
    with pytest.raises(ConfigError, match="no program 'k3s'"):
        programs.ensure("k3s")


def test_own_go_mod_keeps_replacements_but_those_into_its_own_tree() -> None:
    text = "module a.example/b\n\nreplace (\n\tx.example/y => z.example/y v1\n\ta.example/c => ./c\n)\nreplace q.example/r => ../r\n"
    own = building.own_go_mod(text, Recipe("b", 1, "a.example/b", "v2.0.0"))
    assert own.startswith("module lab/b\n")
    assert "x.example/y => z.example/y v1" in own
    assert "./c" not in own
    assert "../r" not in own
    assert own.endswith("require a.example/b v2.0.0\n")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 linux/amd64", (1, 27, 0)),
        ("go version devel +abc", ()),
        ("", ()),
    ],
)
def test_go_versions(text: str, version: tuple[int, ...]) -> None:
    assert toolchain.parse(text) == version


def test_no_go_is_no_version(tmp_path: Path) -> None:
    assert toolchain.version_of(tmp_path / "go") == ()
    assert () < toolchain.NEEDED <= toolchain.parse("go" + toolchain.WHEEL)


def test_the_pause_image_is_whole_and_always_the_same() -> None:
    data = node.pause_image(b"busybox")
    assert data == node.pause_image(b"busybox")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        manifest = json.load(stream)[0]
        assert manifest["RepoTags"] == [node.PAUSE]
        assert {manifest["Config"], *manifest["Layers"]} <= set(archive.getnames())


def test_old_builds_are_forgotten(tmp_path: Path) -> None:
    import os

    for age in range(5):
        build = tmp_path / f"helm-{age:016x}"
        build.mkdir()
        os.utime(build, (age, age))
    (tmp_path / f"helm3-{0:016x}").mkdir()
    programs._prune("helm", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"helm-{age:016x}" for age in (2, 3, 4)] + [f"helm3-{0:016x}"]


def test_several_modules_are_built_with_one_set_of_versions() -> None:
    recipe = Recipe(
        "b", 1, "a.example/b", "v2.0.0", beside=(("a.example/c", "v3.0.0"),), pins=(("x.example/y", "v1.0.0"), ("x.example/z", "v1.1.0")),
        hollow=(("x.example/z", "one.go", "small"),),
    )  # fmt: skip
    own = building.own_go_mod(
        "module a.example/b\n\nrequire x.example/y v1.4.0\nreplace x.example/y => x.example/y v1.3.0\n", recipe
    ).splitlines()
    assert {"require a.example/b v2.0.0", "require a.example/c v3.0.0", "replace x.example/y => x.example/y v1.0.0"} <= set(own)
    assert "replace x.example/y => x.example/y v1.3.0" not in own, "what is pinned is replaced once"
    assert not any("x.example/z" in line for line in own), "a module that is hollow is replaced by a folder"


def test_the_controllers_and_the_name_server_stand_on_the_clusters_own_client() -> None:
    """One file says which Kubernetes the lab is; Flux and CoreDNS are one build, so that its client is compiled once for both."""
    pins = dict(RECIPES["flux"].pins)
    assert pins["k8s.io/client-go"] == pins["k8s.io/api"] == "v0.34.4"
    go_mod = (programs.HERE / "kubelab" / "go.mod").read_text()
    assert all(
        f"{module} {version}\n" in go_mod or f"{module} {version} //" in go_mod for module, version in hollow_flux.of_cluster(go_mod)
    )
    assert hollow_flux.of_cluster("require a.b/c v1\nreplace (\n\td.e/f => d.e/f v2\n)\n\tg.h/i v0.0.0\n") == (("d.e/f", "v2"),)


@pytest.mark.timeout(60)
def test_a_build_that_is_stopped_is_not_waited_for(tmp_path: Path) -> None:
    import threading

    compiler = tmp_path / "go"
    compiler.write_text("#!/bin/sh\nexec sleep 3600\n")
    compiler.chmod(0o755)
    stop = threading.Event()
    stop.set()
    builder = building.Builder(HELM, compiler, tmp_path, {}, print, stop)
    with pytest.raises(Cancelled):
        builder.build(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_build_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    import threading

    compiler = tmp_path / "go"
    compiler.write_text("#!/bin/sh\necho 'go: downloading x' >&2\necho 'proxy said no' >&2\nexit 1\n")
    compiler.chmod(0o755)
    builder = building.Builder(HELM, compiler, tmp_path, {}, print, threading.Event())
    with pytest.raises(BuildError, match="could not be built") as caught:
        builder.build(tmp_path / "home")
    assert caught.value.cause == "proxy said no"
    assert caught.value.log == str(tmp_path / "build.log")


GO = """#!/bin/sh
case $1 in
mod) printf '{{"Dir": "{home}/module", "GoMod": "{home}/module/go.mod"}}' ;;
build) printf '%s\\n' "$@" "CGO_CFLAGS=$CGO_CFLAGS" > {home}/asked; cp -r . {home}/built; touch {home}/desk/out/b ;;
esac
"""


def test_a_hollowed_module_is_built_from_a_copy_with_its_files_replaced(tmp_path: Path) -> None:
    import threading

    for folder in ("module/pkg", "desk"):
        (tmp_path / folder).mkdir(parents=True)
    files = {"go.mod": "module a.example/b\n\nrequire x.example/y v1.2.3\n", "go.sum": "", "pkg/one.go": "large", "pkg/two.go": "kept"}
    for name, text in files.items():
        (tmp_path / "module" / name).write_text(text)
    (tmp_path / "go").write_text(GO.format(home=tmp_path))
    (tmp_path / "go").chmod(0o755)
    hollow = (("a.example/b", "pkg/one.go", "small"), ("x.example/y", "pkg/two.go", "less"))
    recipe = Recipe("b", 1, "a.example/b", "v2.0.0", "a.example/b", cgo=True, hollow=hollow, cflags="-O1")
    building.Builder(recipe, tmp_path / "go", tmp_path / "desk", {}, print, threading.Event()).build(tmp_path / "home")
    assert (tmp_path / "home" / "b").exists()
    built = tmp_path / "built"
    assert [(built / "hollow0" / "pkg" / name).read_text() for name in ("one.go", "two.go")] == ["small", "kept"]
    assert [(built / "hollow1" / "pkg" / name).read_text() for name in ("one.go", "two.go")] == ["large", "less"]
    own = (built / "go.mod").read_text().splitlines()
    assert {"replace a.example/b => ./hollow0", "replace x.example/y => ./hollow1"} <= set(own)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert {*recipe.flags, "CGO_CFLAGS=-O1"} <= set(asked)
    assert (tmp_path / "module" / "pkg" / "one.go").read_text() == "large", "the module itself is everybody's"


def test_a_recipe_that_hollows_out_what_is_not_there_says_so(tmp_path: Path) -> None:
    import threading

    for folder in ("module", "desk"):
        (tmp_path / folder).mkdir()
    for name in ("go.mod", "go.sum"):
        (tmp_path / "module" / name).write_text("module a.example/b\n")
    (tmp_path / "go").write_text(GO.format(home=tmp_path))
    (tmp_path / "go").chmod(0o755)
    recipe = Recipe("b", 1, "a.example/b", "v2.0.0", hollow=(("x.example/y", "one.go", ""),))
    with pytest.raises(BuildError, match=r"no longer uses x\.example/y"):
        building.Builder(recipe, tmp_path / "go", tmp_path / "desk", {}, print, threading.Event()).build(tmp_path / "home")


SEVERAL = """#!/bin/sh
case "$1 $4" in
mod*) module=${{4%%@*}}; printf '{{"Dir": "{home}/%s", "GoMod": "{home}/%s/go.mod"}}' "$module" "$module" ;;
build*) printf '%s\\n' "$@" > {home}/asked; cp -r . {home}/built; cd {home}/desk/out; mkdir all; touch all/b all/c ;;
esac
"""


def test_programs_of_several_modules_lie_in_one_folder_with_what_travels_with_them(tmp_path: Path) -> None:
    import threading

    for module in ("a.example/b", "a.example/c"):
        (tmp_path / module / "crds").mkdir(parents=True)
        (tmp_path / module / "go.mod").write_text(f"module {module}\n")
        (tmp_path / module / "go.sum").write_text(f"sum of {module}\n")
        (tmp_path / module / "crds" / f"{module[-1]}.yaml").write_text(module)
    (tmp_path / "desk").mkdir()
    (tmp_path / "go").write_text(SEVERAL.format(home=tmp_path))
    (tmp_path / "go").chmod(0o755)
    recipe = Recipe(
        "all", 1, "a.example/b", "v1.0.0", "a.example/b a.example/c", beside=(("a.example/c", "v2.0.0"),),
        pins=(("x.example/y", "v3.0.0"),),
        hollow=(("cloud.example/z", "go.mod", "module cloud.example/z\n"), ("cloud.example/z", "pkg/z/none.go", "package z\n")),
        extras=(("crds", "crds"), ("a.example/c//crds", "crds")),
    )  # fmt: skip
    building.Builder(recipe, tmp_path / "go", tmp_path / "desk", {}, print, threading.Event()).build(tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home" / "all").iterdir()) == ["b", "c"]
    assert sorted(path.name for path in (tmp_path / "home" / "crds").iterdir()) == ["b.yaml", "c.yaml"]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-3:] == [f"{tmp_path}/desk/out/all/", "a.example/b", "a.example/c"]
    built = tmp_path / "built"
    assert sorted(str(path.relative_to(built / "hollow0")) for path in (built / "hollow0").rglob("*") if path.is_file()) == [
        "go.mod",
        "pkg/z/none.go",
    ], "nothing is fetched of a module that is made anew"
    assert "replace cloud.example/z => ./hollow0" in (built / "go.mod").read_text()
    sums = (built / "go.sum").read_text()
    assert "sum of a.example/b" in sums
    assert "sum of a.example/c" in sums
    assert "k8s.io/client-go v0.34.4 h1:" in sums, "those of the versions that hold"


def test_a_module_that_is_no_longer_used_is_said(tmp_path: Path) -> None:
    import threading

    (tmp_path / "a.example/b").mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (tmp_path / "a.example/b" / name).write_text("")
    (tmp_path / "desk").mkdir()
    (tmp_path / "go").write_text(SEVERAL.format(home=tmp_path))
    (tmp_path / "go").chmod(0o755)
    recipe = Recipe("all", 1, "a.example/b", "v1.0.0", hollow=(("x.example/gone", "one.go", "small"),))
    with pytest.raises(BuildError, match=r"no longer uses x\.example/gone"):
        building.Builder(recipe, tmp_path / "go", tmp_path / "desk", {}, print, threading.Event()).build(tmp_path / "home")
