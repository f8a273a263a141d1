"""One build of a Go program: a module of its own that requires the program's, compiled in a folder that is thrown away."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BuildError, Cancelled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pipeline.lab.programs import Recipe

CLUSTER_SUMS = Path(__file__).parent / "kubelab" / "go.sum"  # of the versions that pins hold


@dataclass(frozen=True)
class Builder:
    """Builds `recipe` with `compiler` in folder `work`; the log is `work`/build.log. `stop` ends it early."""

    recipe: Recipe
    compiler: Path
    work: Path
    env: dict[str, str]
    say: Callable[[str], None]
    stop: threading.Event
    begun: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        return self.work / "build.log"

    @property
    def source(self) -> Path:
        return self.work / "source"

    def build(self, home: Path) -> None:
        """Build, and put the program and its extras at `home`, whole or not at all. Raises BuildError, Cancelled."""
        recipe, out = self.recipe, self.work / "out"
        for old in self.work.glob("*/"):
            shutil.rmtree(old)
        self.log.unlink(missing_ok=True)
        out.mkdir()
        home.parent.mkdir(parents=True, exist_ok=True)
        self.say(f"{recipe.name} {recipe.version}: building, usually {recipe.usual} s; log {self.log}")
        module = self._module()
        flags = ["-trimpath", *recipe.flags, "-ldflags", f"-s -w {recipe.link}".strip()]
        flags += [*(["-mod=mod"] if recipe.module else []), *(["-tags", recipe.tags] if recipe.tags else [])]
        packages = recipe.package.split()
        target = f"{out / recipe.name}{'/' if len(packages) > 1 else ''}"  # several programs go into a folder of that name
        self._go("build", *flags, "-o", target, *packages)
        for origin, name in recipe.extras:
            other, _, path = origin.rpartition("//")
            copy((self._folder(other) if other else module) / path, out / name)
        out.rename(home)
        shutil.rmtree(self.source, ignore_errors=True)
        self.say(f"{recipe.name} {recipe.version}: built in {time.monotonic() - self.begun:.0f} s")

    def _module(self) -> Path:
        """Fill `source` with the module that is built; gives the folder of the module it stands on."""
        recipe = self.recipe
        if not recipe.module:
            shutil.copytree(recipe.source, self.source)
            return self.source
        self.source.mkdir()
        info = self._download(recipe.module, recipe.version)
        folders = [Path(info["Dir"]), *(self._folder(module) for module, _ in recipe.beside)]
        (self.source / "go.mod").write_text(own_go_mod(Path(info["GoMod"]).read_text(), recipe))
        sums = [folder / "go.sum" for folder in folders] + ([CLUSTER_SUMS] if recipe.pins else [])
        (self.source / "go.sum").write_text("".join(path.read_text() for path in sums))
        for number, module in enumerate(dict.fromkeys(module for module, _, _ in recipe.hollow)):
            self._hollow_out(module, f"hollow{number}", {file: text for name, file, text in recipe.hollow if name == module})
        return folders[0]

    def _hollow_out(self, module: str, folder: str, files: dict[str, str]) -> None:
        """Put a copy of the module beside the source, with these files replaced, and build with that.

        With a go.mod among them, these files are all that the module is made of.
        """
        own, target = self.source / "go.mod", self.source / folder
        if "go.mod" not in files:
            found = dict(self.recipe.pins).get(module) or required(module, own.read_text())
            if not found:
                raise BuildError(
                    f"this version of {self.recipe.name} no longer uses {module}", mend="take it out of `hollow` in its recipe"
                )
            copy(Path(self._download(module, found)["Dir"]), target)
        for file, text in files.items():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).write_text(text)
        with own.open("a") as lines:
            lines.write(f"\nreplace {module} => ./{folder}\n")

    def _folder(self, module: str) -> Path:
        """Where a module of the recipe lies, unpacked."""
        recipe = self.recipe
        return Path(self._download(module, {recipe.module: recipe.version, **dict(recipe.beside)}[module])["Dir"])

    def _download(self, module: str, version: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._go("mod", "download", "-json", f"{module}@{version}"))
        return found

    def _go(self, *words: str) -> str:
        recipe, path = self.recipe, self.env.get("PATH", os.defpath)
        env = self.env | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "1" if recipe.cgo else "0", "PATH": f"{self.compiler.parent}:{path}"}
        if recipe.cflags:
            env["CGO_CFLAGS"] = recipe.cflags
        with self.log.open("ab") as story:
            process = subprocess.Popen(
                [str(self.compiler), *words],
                cwd=self.source,
                env=env,
                stdout=subprocess.PIPE,
                stderr=story,
                text=True,
                start_new_session=True,
            )
        try:
            out = self._wait(process)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if process.returncode:
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("go: downloading")]
            raise BuildError(
                f"{recipe.name} {recipe.version} could not be built", cause="\n".join(lines[-10:]) or out[-500:], log=str(self.log),
                mend="check that the Go module proxy answers (go env GOPROXY), then inv lab.up again: what was built is kept",
            )  # fmt: skip
        return out

    def _wait(self, process: subprocess.Popen[str]) -> str:
        told = time.monotonic()
        while True:
            try:
                return process.communicate(timeout=0.5)[0]
            except subprocess.TimeoutExpired:
                if self.stop.is_set():
                    raise Cancelled(f"the build of {self.recipe.name} was stopped") from None
                if time.monotonic() > told + 30:
                    told = time.monotonic()
                    self.say(f"{self.recipe.name}: {told - self.begun:.0f} s of usually {self.recipe.usual} s")


def own_go_mod(text: str, recipe: Recipe) -> str:
    """go.mod of a module that requires the recipe's, with its `replace` lines less those that point into its own tree.

    `go install` refuses a module with `replace` lines; a module that repeats them builds the same program.
    """
    text = re.sub(r"(?m)^module .*$", f"module lab/{recipe.name}", text, count=1)
    pins = dict(recipe.pins)
    kept = [line for line in text.splitlines() if not (re.search(r"=>\s*\.\.?/", line) or replaced(line) in pins)]
    needed = [f"require {module} {version}" for module, version in ((recipe.module, recipe.version), *recipe.beside)]
    hollow = {module for module, _, _ in recipe.hollow}  # replaced by a folder
    pinned = [f"replace {module} => {module} {version}" for module, version in pins.items() if module not in hollow]
    return "\n".join([*kept, *needed, *pinned, ""])


def replaced(line: str) -> str:
    """The module that a line of go.mod replaces, "" where it replaces none."""
    found = re.search(r"^\s*(?:replace\s+)?(\S+)(?:\s+v\S+)?\s+=>", line)
    return found[1] if found else ""


def required(module: str, go_mod: str) -> str:
    """The version of the module that a go.mod requires, "" where it does not."""
    found = re.search(rf"(?m)^\s*(?:require\s+)?{re.escape(module)} (v\S+)", go_mod)
    return found[1] if found else ""


def copy(origin: Path, target: Path) -> None:
    """Copy out of the module folder, where everything is read-only, so that the copy can be removed."""
    if origin.is_file():
        shutil.copyfile(origin, target)
        return
    shutil.copytree(origin, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
