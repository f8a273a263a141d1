"""The lab's Go programs: built once per content, kept in the cache, shared by every lab of the user."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import content_hash
from pipeline.errors import BuildError, ConfigError
from pipeline.lab import toolchain
from pipeline.lab.layout import flocked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """A program from a Go module, or (without `module`) from the folder `name` beside this file.

    `usual` is how long a cold build takes on two cores, in seconds; `link` are words for the linker, `extras` are paths of the
    module that travel with the program. `hollow` is (module, file, text): that module is built with that file replaced.
    """

    name: str
    usual: int
    module: str = ""
    version: str = ""
    package: str = "."
    tags: str = ""
    cgo: bool = False
    link: str = ""
    hollow: tuple[str, str, str] | None = None
    extras: tuple[tuple[str, str], ...] = ()


# Traefik can ask 170 DNS providers for certificates. Their clients are half of what it compiles, and the lab has no certificates.
NO_DNS_PROVIDERS = """package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName knows no provider: this Traefik was built for the lab.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("unrecognized DNS provider: %s", name)
}
"""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "kubelab", 300, version="v1.34.4",
            link="-X {0}.gitVersion=v1.34.4 -X {0}.gitMajor=1 -X {0}.gitMinor=34".format("k8s.io/component-base/version"),
        ),
        Recipe(
            "gitea", 190, "code.gitea.io/gitea", "v1.26.2", "code.gitea.io/gitea", "sqlite sqlite_unlock_notify", True,
            extras=(("templates", "static/templates"), ("options", "static/options"), ("public", "static/public")),
        ),
        Recipe("helm", 180, "helm.sh/helm/v4", "v4.3.1", "helm.sh/helm/v4/cmd/helm"),
        Recipe("helm3", 150, "helm.sh/helm/v3", "v3.22.0", "helm.sh/helm/v3/cmd/helm"),
        Recipe(
            "traefik", 290, "github.com/traefik/traefik/v3", "v3.6.7", "github.com/traefik/traefik/v3/cmd/traefik",
            extras=(("docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml", "crds.yml"),),
            hollow=("github.com/go-acme/lego/v4", "providers/dns/zz_gen_dns_providers.go", NO_DNS_PROVIDERS),
        ),
    )
}  # fmt: skip


def key(recipe: Recipe, go_version: str, source: str = "") -> str:
    """The name of one build: equal keys, equal programs."""
    known = {name: value for name, value in recipe.__dict__.items() if value and name != "usual"}
    return content_hash([known, go_version, source])[:16]


def find(name: str, go_version: str) -> Path:
    """The folder where the program lies, or will lie once it is built."""
    recipe = RECIPES[name]
    return toolchain.cache() / "programs" / f"{name}-{key(recipe, go_version, _own_source(recipe))}"


def ensure(name: str, *, say: Callable[[str], None] = print, env: Mapping[str, str] | None = None) -> Path:
    """The folder that holds program `name` (and its extras), built if it is not in the cache.

    Two callers never build the same program twice. `env` is the environment of the build. Raises ConfigError, BuildError.
    """
    if name not in RECIPES:
        raise ConfigError(f"the lab has no program {name!r}", mend="it has " + ", ".join(sorted(RECIPES)))
    compiler, version = toolchain.go(say)
    home = find(name, version)
    if (home / name).exists():
        return home
    lock = toolchain.cache() / "building" / name
    lock.mkdir(parents=True, exist_ok=True)
    with flocked(lock, wait=3600, waiting=lambda: say(f"{name}: another lab is building it, waiting")):
        if not (home / name).exists():
            _build(RECIPES[name], compiler, home, lock, say, dict(env if env is not None else os.environ))
    return home


def _build(recipe: Recipe, compiler: Path, home: Path, work: Path, say: Callable[[str], None], env: dict[str, str]) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    log = work / "build.log"
    for old in work.glob("*/"):
        shutil.rmtree(old)
    out, source = work / "out", work / "source"
    out.mkdir()
    env |= {"GOTOOLCHAIN": "local", "CGO_ENABLED": "1" if recipe.cgo else "0", "PATH": f"{compiler.parent}:{env.get('PATH', os.defpath)}"}
    say(f"{recipe.name} {recipe.version}: building, usually {recipe.usual} s; log {log}")
    begun = time.monotonic()
    with log.open("wb") as story:

        def run(argv: list[str], cwd: Path) -> str:
            return _run(argv, cwd, env, log, story.fileno(), recipe, say, begun)

        module = _own_module(recipe, source, run, compiler)
        flags = ["-trimpath", "-ldflags", f"-s -w {recipe.link}".strip()]
        flags += [*(["-mod=mod"] if recipe.module else []), *(["-tags", recipe.tags] if recipe.tags else [])]
        run([str(compiler), "build", *flags, "-o", str(out / recipe.name), recipe.package], source)
        for origin, target in recipe.extras:
            _copy(module / origin, out / target)
    out.rename(home)
    shutil.rmtree(source, ignore_errors=True)
    _prune(recipe.name, home.parent)
    say(f"{recipe.name} {recipe.version}: built in {time.monotonic() - begun:.0f} s")


def _prune(name: str, programs: Path, keep: int = 3) -> None:
    """Forget all but the newest builds of a program; a running lab has its own name for the file it runs."""
    builds = sorted(programs.glob(f"{name}-" + "[0-9a-f]" * 16), key=lambda path: path.stat().st_mtime)
    for old in builds[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def _own_module(recipe: Recipe, source: Path, run: Callable[[list[str], Path], str], compiler: Path) -> Path:
    """Fill `source` with the module that is built; gives the folder of the module it stands on."""
    if not recipe.module:
        shutil.copytree(HERE / recipe.name, source)
        return source
    source.mkdir()
    info = json.loads(run([str(compiler), "mod", "download", "-json", f"{recipe.module}@{recipe.version}"], source))
    (source / "go.mod").write_text(own_go_mod(Path(info["GoMod"]).read_text(), recipe))
    shutil.copyfile(Path(info["Dir"]) / "go.sum", source / "go.sum")
    if recipe.hollow:
        _hollow_out(recipe.hollow, source, run, compiler)
    return Path(info["Dir"])


def _hollow_out(hollow: tuple[str, str, str], source: Path, run: Callable[[list[str], Path], str], compiler: Path) -> None:
    """Put a copy of the module beside the source, with one file replaced, and build with that."""
    module, file, text = hollow
    own = source / "go.mod"
    found = re.search(rf"(?m)^\s*(?:require\s+)?{re.escape(module)} (v\S+)", own.read_text())
    if not found:
        raise BuildError(f"this version no longer uses {module}", mend="take `hollow` out of its recipe")
    info = json.loads(run([str(compiler), "mod", "download", "-json", f"{module}@{found[1]}"], source))
    _copy(Path(info["Dir"]), source / "hollow")
    (source / "hollow" / file).write_text(text)
    with own.open("a") as lines:
        lines.write(f"\nreplace {module} => ./hollow\n")


def own_go_mod(text: str, recipe: Recipe) -> str:
    """go.mod of a module that requires the recipe's, with its `replace` lines less those that point into its own tree.

    `go install` refuses a module with `replace` lines; a module that repeats them builds the same program.
    """
    text = re.sub(r"(?m)^module .*$", f"module lab/{recipe.name}", text, count=1)
    kept = [line for line in text.splitlines() if not re.search(r"=>\s*\.\.?/", line)]
    return "\n".join([*kept, f"require {recipe.module} {recipe.version}", ""])


def _run(
    argv: list[str], cwd: Path, env: dict[str, str], log: Path, story: int, recipe: Recipe, say: Callable[[str], None], begun: float
) -> str:
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=story, text=True, start_new_session=True)
    try:
        while True:
            try:
                out, _ = process.communicate(timeout=30)
                break
            except subprocess.TimeoutExpired:
                say(f"{recipe.name}: {time.monotonic() - begun:.0f} s of usually {recipe.usual} s")
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("go: downloading")]
        raise BuildError(
            f"{recipe.name} {recipe.version} could not be built", cause="\n".join(lines[-10:]) or out[-500:], log=str(log),
            mend="check that the Go module proxy answers (go env GOPROXY), then inv lab.up again: what was built is kept",
        )  # fmt: skip
    return out


def _copy(origin: Path, target: Path) -> None:
    """Copy out of the module folder, where everything is read-only, so that the copy can be removed."""
    if origin.is_file():
        shutil.copyfile(origin, target)
        return
    shutil.copytree(origin, target, copy_function=shutil.copyfile)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _own_source(recipe: Recipe) -> str:
    if recipe.module:
        return ""
    files = sorted(path for path in (HERE / recipe.name).iterdir() if path.is_file())
    return hashlib.sha256(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files)).hexdigest()
