"""One root module with its state: where everything of it lies, who it is to its provider, and whether it is initialized."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import content_hash
from pipeline.errors import AuthError, ConfigError
from pipeline.events import What
from pipeline.provision.spec import Terraform
from pipeline.stage import Site
from pipeline.tools import private, terraform

STAGE = "infra"
MARK = "PIPELINE_INFRA"  # in the environment of what we start: how it is known again after we died
OWN = (".terraform", ".terraform.tfstate.lock.info", "errored.tfstate", "crash.log")
ASSIGNED = re.compile(r'^\s*[\w-]*(?:token|secret|password|key)[\w-]*\s*=\s*"([^"\n]+)"', re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Root:
    """The module of one blueprint in one environment. `name` names both, and is what a person types to destroy it."""

    name: str
    spec: Terraform
    site: Site
    protected: bool = False

    @property
    def folder(self) -> Path:
        return self.site.root / self.spec.folder

    @property
    def home(self) -> Path:
        """What is ours and only ours: plans, logs, the tool's working data. Nobody else can look into it."""
        return self.site.root / ".pipeline" / "infra" / self.name

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def plan_file(self) -> Path:
        return self.home / "reviewed.tfplan"

    @property
    def log(self) -> Path:
        """What the last apply said."""
        return self.home / "apply.log"

    @property
    def state(self) -> Path:
        """Where the state lies; meant only where no backend is named."""
        if self.spec.state:
            return self.site.root / Path(self.spec.state).expanduser()
        base = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        return Path(base) / "pipeline" / "infra" / self.site.app / self.name / "terraform.tfstate"

    @property
    def backend(self) -> dict[str, str]:
        return dict(self.spec.backend) or {"path": str(self.state)}

    @property
    def program(self) -> str:
        """What is called. Raises ConfigError where neither Terraform nor OpenTofu is there."""
        named = self.site.tools.get("terraform", "")
        found = shutil.which(named) if named else shutil.which("terraform") or shutil.which("tofu")
        if not found:
            what = f"{named} cannot be run" if named else "neither terraform nor tofu is installed"
            raise ConfigError(what, mend="install one of them, or name it in the site file: tools: {terraform: /path/to/tofu}")
        return found

    def check(self) -> None:
        """Whether this can be planned and applied at all. Contacts nobody; raises ConfigError."""
        if not any(self.folder.glob("*.tf")) and not any(self.folder.glob("*.tf.json")):
            raise ConfigError(f"there is no Terraform configuration in {self.folder}", mend="correct `folder` of `infra` in the blueprint")
        if self.unsaved.exists():
            raise ConfigError("an earlier apply could not save its state", cause=self.lost, mend=self.save)
        stray = self.folder / "terraform.tfstate"
        if not self.spec.backend and stray.exists() and stray.resolve() != self.state.resolve():
            raise ConfigError(
                f"there is a state in {self.folder}, made by hand",
                cause=f"the state belongs to {self.state}",
                mend=f"mkdir -p {self.state.parent} && mv {stray} {self.state}, if it is of this environment; else remove it",
            )
        for folder in (self.home, self.state.parent if not self.spec.backend else self.home):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise ConfigError(f"{folder} cannot be made", cause=str(error), mend="see who owns the folder above it") from error

    @property
    def unsaved(self) -> Path:
        """Where the tool leaves a state that its backend did not take."""
        return self.folder / "errored.tfstate"

    @property
    def lost(self) -> str:
        return f"{self.unsaved} holds what was made: without it, all of that is made a second time"

    @property
    def save(self) -> str:
        push = self.by_hand("state", "push", "errored.tfstate")
        return (
            f"once the backend answers: {push}, then rm {self.unsaved}\nif the state is still locked by that apply: force-unlock it first"
        )

    def by_hand(self, *words: str) -> str:
        """The command that a person types for what is not done by itself."""
        return f"TF_DATA_DIR={self.data} {Path(self.program).name} -chdir={self.folder} {' '.join(words)}"

    def fingerprint(self) -> str:
        """Names the configuration by its content: every file of the folder, the variables, the tool."""
        files = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if not path.is_file() or set(name.parts) & set(OWN) or ".tfstate" in path.name:
                continue
            files[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return content_hash([files, dict(self.spec.variables), self.backend, self.program])

    def inputs(self) -> tuple[str, ...]:
        """The variable files of a plan: the blueprint's variables, in a file that only we can read."""
        if not self.spec.variables:
            return ()
        path = self.home / "blueprint.tfvars.json"
        private.write(path, json.dumps(dict(self.spec.variables)))
        return (str(path),)


@contextlib.contextmanager
def environment(root: Root, run: str, *, strict: bool = True) -> Iterator[dict[str, str]]:
    """The environment of the tool, with its credentials; private files last as long as this.

    Raises AuthError or ConfigError where a credential is missing or open to others; where it is not `strict`, one that is missing is
    left out: reading what is known needs none.
    """
    env, gone = terraform.environment(os.environ, str(root.data))
    if gone:
        root.site.tell(What.WARN, STAGE, f"{', '.join(gone)} would change what is called: not passed on")
    for name, value in env.items():
        if name.startswith("TF_VAR_") and re.search(r"token|secret|password|key", name, re.IGNORECASE):
            root.site.secrets.guard(value)
    carried = _carried(root)
    with contextlib.ExitStack() as held:
        for name, source in root.spec.credentials.items():
            try:
                env |= _credential(root, name, source, held)
            except AuthError as error:
                if strict and not carried:
                    raise
                if strict:
                    root.site.tell(What.WARN, STAGE, f"{error.what}: a tfvars file in {root.spec.folder} has to carry it")
        yield env | {MARK: run}


def _credential(root: Root, name: str, source: str, held: contextlib.ExitStack) -> dict[str, str]:
    """What the environment says itself goes before the blueprint."""
    plain = name.removesuffix("_FILE")
    if value := os.environ.get(plain):
        root.site.secrets.guard(value)
        return {}
    is_file = plain != name
    if is_file and os.environ.get(name):
        source = f"file:{os.environ[name]}"
    if source.startswith("file:"):
        source = f"file:{root.site.root / Path(source.removeprefix('file:')).expanduser()}"
    value = root.site.secrets.get(source).reveal()
    if not is_file:
        return {name: value}
    own = Path(source.removeprefix("file:"))
    if source.startswith("file:") and own.read_text() == value:
        return {name: str(own)}
    # a provider need not take the blank or the line break off that an editor put there
    folder = private.folder()
    held.callback(private.remove, folder)
    private.write(folder / "secret", value)
    return {name: str(folder / "secret")}


def _carried(root: Root) -> bool:
    """Whether there are variable files of the user's own; what is a secret in them is masked from now on."""
    files = [root.folder / "terraform.tfvars", *root.folder.glob("*.auto.tfvars")]
    found = [path.read_text(errors="replace") for path in files if path.is_file()]
    for value in (value for text in found for value in ASSIGNED.findall(text)):
        root.site.secrets.guard(value)
    return bool(found)
