"""The lab's Go programs: built once per content, kept in the cache, shared by every lab of the user."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import content_hash
from pipeline.errors import ConfigError
from pipeline.lab import hollow_buildkit, hollow_flux, hollow_tofu, toolchain
from pipeline.lab.building import Builder
from pipeline.lab.layout import flocked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE = Path(__file__).parent
SMALL = "-gcflags=all=-l -dwarf=false"  # no inlining, no debug information: the compiler needs a third less time
QUICK = (SMALL, "-gcflags=std=-dwarf=false")  # inlining in Go's own packages: what allocates and collects garbage takes half the time


@dataclass(frozen=True)
class Recipe:
    """A program from a Go module, or (without `module`) from the folder `name` beside this file, or from `folder`.

    `usual` is how long a cold build takes on two cores, in seconds; `link` are words for the linker, `extras` are paths of the
    module (or `MODULE//PATH`) that travel with the program. Each of `hollow` is (module, file, text): that module is built with that
    file replaced. `package` may name several, with blanks between: then `name` is a folder of programs. `beside` are the modules
    (and versions) that they come from other than `module`; `pins` are versions that hold whatever these ask for.
    `flags` are the Go compiler's: QUICK for what runs all the time; `cflags` are the C compiler's.
    """

    name: str
    usual: int
    module: str = ""
    version: str = ""
    package: str = "."
    tags: str = ""
    cgo: bool = False
    link: str = ""
    hollow: tuple[tuple[str, str, str], ...] = ()
    flags: tuple[str, ...] = (SMALL,)
    cflags: str = ""
    extras: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    beside: tuple[tuple[str, str], ...] = ()
    pins: tuple[tuple[str, str], ...] = ()

    @property
    def source(self) -> Path:
        """Where the files of a program without `module` are."""
        return Path(self.folder) if self.folder else HERE / self.name


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

# Its provider for Amazon's container service brings Amazon's whole client: a quarter of what is left.
NO_AMAZON = """package ecs

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// Provider finds nothing: this Traefik was built for the lab.
type Provider struct{}

func (*Provider) Init() error { return errors.New("this Traefik was built without Amazon ECS") }

func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return nil }
"""
ECS = "pkg/provider/ecs/"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "kubelab", 200, version="v1.34.4", flags=QUICK,
            link="-X {0}.gitVersion=v1.34.4 -X {0}.gitMajor=1 -X {0}.gitMinor=34".format("k8s.io/component-base/version"),
        ),
        Recipe(
            "gitea", 110, "code.gitea.io/gitea", "v1.26.2", "code.gitea.io/gitea", "sqlite sqlite_unlock_notify", True, flags=QUICK,
            extras=(("templates", "static/templates"), ("options", "static/options"), ("public", "static/public")), cflags="-O1",
        ),
        Recipe("helm", 80, "helm.sh/helm/v4", "v4.3.1", "helm.sh/helm/v4/cmd/helm"),
        Recipe("kubecfg", 70, "github.com/kubecfg/kubecfg", "v0.34.3", "github.com/kubecfg/kubecfg", link="-X main.version=v0.34.3"),
        Recipe(
            "buildkitd", 70, hollow_buildkit.BUILDKIT, "v0.27.1", f"{hollow_buildkit.BUILDKIT}/cmd/buildkitd",
            hollow=hollow_buildkit.OF_BUILDKIT,
        ),
        Recipe("buildx", 50, hollow_buildkit.BUILDX, "v0.30.1", f"{hollow_buildkit.BUILDX}/cmd/buildx", hollow=hollow_buildkit.OF_BUILDX),
        Recipe("hub", 15),
        Recipe("actionlint", 10, "github.com/rhysd/actionlint", "v1.7.12", "github.com/rhysd/actionlint/cmd/actionlint"),
        Recipe("act", 60, "github.com/nektos/act", "v0.2.89", "github.com/nektos/act"),
        Recipe(
            "tofu", 75, hollow_tofu.MODULE, "v1.12.6", "github.com/opentofu/opentofu/cmd/tofu", hollow=hollow_tofu.HOLLOW,
            link="-X github.com/opentofu/opentofu/version.dev=no",
        ),
        Recipe(
            "flux", 180, hollow_flux.CONTROLLERS[0], "v1.7.3", " ".join(hollow_flux.PACKAGES),
            hollow=hollow_flux.HOLLOW, beside=hollow_flux.BESIDE, pins=hollow_flux.PINS,
            extras=tuple((f"{module}//config/crd/bases", "crds") for module in hollow_flux.CONTROLLERS),
        ),
        Recipe("helm3", 70, "helm.sh/helm/v3", "v3.22.0", "helm.sh/helm/v3/cmd/helm"),
        Recipe(
            "traefik", 110, "github.com/traefik/traefik/v3", "v3.6.7", "github.com/traefik/traefik/v3/cmd/traefik",
            extras=(("docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml", "crds.yml"),),
            hollow=(
                ("github.com/go-acme/lego/v4", "providers/dns/zz_gen_dns_providers.go", NO_DNS_PROVIDERS),
                ("github.com/traefik/traefik/v3", ECS + "ecs.go", NO_AMAZON),
                ("github.com/traefik/traefik/v3", ECS + "config.go", "package ecs\n"),
                ("github.com/traefik/traefik/v3", ECS + "label.go", "package ecs\n"),
            ),
        ),
    )
}  # fmt: skip


def key(recipe: Recipe, go_version: str, source: str = "") -> str:
    """The name of one build: equal keys, equal programs."""
    known = {name: value for name, value in recipe.__dict__.items() if value and name not in ("usual", "folder")}
    return content_hash([known, go_version, source])[:16]


def find(name: str, go_version: str) -> Path:
    """The folder where the program lies, or will lie once it is built."""
    return _home(RECIPES[name], go_version)


def _home(recipe: Recipe, go_version: str) -> Path:
    return toolchain.cache() / "programs" / f"{recipe.name}-{key(recipe, go_version, _own_source(recipe))}"


def ensure(
    name: str | Recipe, *, say: Callable[[str], None] = print, env: Mapping[str, str] | None = None, stop: threading.Event | None = None
) -> Path:
    """The folder that holds program `name` (and its extras), or that of a recipe of the caller's own, built if it is not in the cache.

    Two callers never build the same program twice. `env` is the environment of the build, `stop` ends it early.
    Raises ConfigError, BuildError, Cancelled.
    """
    if isinstance(name, str) and name not in RECIPES:
        raise ConfigError(f"the lab has no program {name!r}", mend="it has " + ", ".join(sorted(RECIPES)))
    recipe = RECIPES[name] if isinstance(name, str) else name
    name = recipe.name
    compiler, version = toolchain.go(say)
    home = _home(recipe, version)
    if (home / name).exists():
        return home
    lock = toolchain.cache() / "building" / name
    lock.mkdir(parents=True, exist_ok=True)
    with flocked(lock, wait=3600, waiting=lambda: say(f"{name}: another lab is building it, waiting")):
        if not (home / name).exists():
            builder = Builder(recipe, compiler, lock, dict(os.environ if env is None else env), say, stop or threading.Event())
            builder.build(home)
            _prune(name, home.parent)
    return home


def _prune(name: str, programs: Path, keep: int = 3) -> None:
    """Forget all but the newest builds of a program; a running lab has its own name for the file it runs."""
    builds = sorted(programs.glob(f"{name}-" + "[0-9a-f]" * 16), key=lambda path: path.stat().st_mtime)
    for old in builds[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def _own_source(recipe: Recipe) -> str:
    if recipe.module:
        return ""
    files = sorted(path for path in recipe.source.iterdir() if path.is_file())
    return hashlib.sha256(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files)).hexdigest()
