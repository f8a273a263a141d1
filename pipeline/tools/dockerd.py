"""One Docker daemon through the official client: an image pulled by digest, one container of it started, looked at, removed.

The texts are those of dockerd 20.10 to 29 and of runc; the API has codes for some of these faults and says others with a 500.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors
import requests.exceptions

from pipeline.errors import AuthError, ConfigError, PipelineError, Transient, Unknown, VerifyError
from pipeline.host import Address
from pipeline.tools import references
from pipeline.tools.meanings import LOST, Rule, Said, Tool, request

LINES = 20  # of a container's log that are shown

ASKED = request('[^"]*/(?:v2|token)\\b')
# The first that fits counts. What the container's own program says is in its log, and no part of this
RULES = (
    Rule(r"(?:Bind for \S+ failed: port is already allocated|bind: address already in use)", ConfigError, "{doing}: the port is in use",
         "name another port, or none for any that is free"),
    Rule(r"cannot assign requested address", ConfigError, "{doing}",
         "correct `host` of this docker in the site file: it is no address of that machine"),
    Rule(r"http: server gave HTTP response to HTTPS client", ConfigError, "{doing}",
         'put "{registry}" among "insecure-registries" in that machine\'s daemon.json'),
    Rule(r"(?:no matching manifest for|image with reference \S+ was found but (?:its platform|does not match))", ConfigError,
         "{doing}: the image is not there for its architecture", "build it for that platform, too"),
    Rule(r"(?:^manifest unknown|manifest for \S+ not found|No such image)", VerifyError, "{doing}: the registry does not have it",
         "`inv push` puts it there"),
    Rule(rf"(?:^{ASKED}(?:denied|unauthorized)(?:$|: )|^(?:denied|unauthorized): |pull access denied for "
         r"|no basic auth credentials)", AuthError,
         "{doing}: the registry refused it", "look at the registry's username and password in the site file"),
    Rule(r'(?:OCI runtime create failed|failed to create (?:shim )?task): [^\n]*(?:no such file or directory|executable file not found'
         r"|permission denied)[^\n]*", VerifyError, "{doing}: its program cannot be started",
         "correct `command`, or the image's entrypoint"),
    Rule(rf"(?:toomanyrequests: |^{ASKED}{LOST})", Transient, "{doing}", ""),
)  # fmt: skip


def own(text: str) -> Said:
    """Return the daemon's one sentence."""
    said = text.strip()
    return Said(() if "\n" in said else (said,), " ".join(said.split())[-400:])


TOOL = Tool("the Docker daemon", RULES, own, "correct what the message names")


@dataclass(frozen=True)
class Wanted:
    """A container called `name`: `image` by digest, `ports` (of the container -> on `address`, 0 for any that is free), `labels` to find
    it by.

    `env` may hold secrets: it travels over the daemon's socket, and does not print.
    """

    name: str
    image: str
    address: str
    ports: Mapping[int, int]
    labels: Mapping[str, str]
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class State:
    """What became of a container: its `status` in Docker's words, `code` once it has exited, where its `ports` answer, its `log`'s end."""

    status: str
    code: int
    ports: Mapping[int, Address]
    log: str


class Engine:
    """A daemon at `address` (as DOCKER_HOST has it), called `name` by people. Nothing is asked before the first call.

    Every method raises Transient where the daemon or a registry does not answer, AuthError where it may not be asked, ConfigError for what
    is wrong with the image, the port or the daemon.
    """

    def __init__(self, name: str, address: str, timeout: float = 60.0) -> None:
        self.name, self.address, self._timeout = name, address, timeout
        self._client: Any = None

    def pull(self, reference: str, login: tuple[str, str] | None = None) -> None:
        """Have the image there, by its digest. `login` is a name and a password for its registry."""
        named = references.read(reference)
        auth = {"username": login[0], "password": login[1]} if login else None
        with self._told(f"pull {reference}", reference):
            if any(reference in (image.attrs.get("RepoDigests") or []) for image in self._docker().images.list(name=named.repository)):
                return
            for line in self._docker().api.pull(named.repository, tag=named.digest, auth_config=auth, stream=True, decode=True):
                if "error" in line:
                    raise failure(f"pull {reference}", str(line["error"]), self.name, reference)

    def create(self, wanted: Wanted) -> None:
        """Make a container, which is not started yet."""
        with self._told(f"make a container of {wanted.image}", wanted.image):
            self._docker().containers.create(
                wanted.image,
                name=wanted.name,
                command=list(wanted.command) or None,
                environment=dict(wanted.env),
                labels=dict(wanted.labels),
                ports={f"{port}/tcp": (wanted.address, there or None) for port, there in wanted.ports.items()},
            )

    def start(self, container: str, image: str) -> None:
        """Start it. Raises VerifyError where the image has no such program."""
        with self._told(f"start {image}", image):
            self._docker().containers.get(container).start()

    def state(self, container: str) -> State:
        """How it is. Raises VerifyError where it is not there any more."""
        try:
            with self._told("look at its container", ""):
                found = self._docker().containers.get(container)
                log = found.logs(tail=LINES).decode(errors="replace")
        except _Absent as error:
            raise VerifyError("the container that was started is gone", mend="look who removed it: docker events") from error
        ports = {
            int(name.partition("/")[0]): Address(bound[0]["HostIp"], int(bound[0]["HostPort"]))
            for name, bound in (found.attrs["NetworkSettings"]["Ports"] or {}).items()
            if bound
        }
        return State(found.status, int(found.attrs["State"]["ExitCode"]), ports, log)

    def platforms(self, image: str) -> tuple[str, str]:
        """The architecture of an image that is there, and the daemon's own."""
        with self._told("ask for its architecture", image):
            return str(self._docker().images.get(image).attrs.get("Architecture")), str(self._docker().version().get("Arch"))

    def labelled(self, label: str) -> dict[str, Mapping[str, str]]:
        """Every container with that label, running or not: its id and all its labels."""
        with self._told("list its containers", ""):
            # each is asked for by itself, and may be gone by then
            listed = self._docker().containers.list(all=True, filters={"label": label}, ignore_removed=True)
            return {found.id: found.labels for found in listed}

    def remove(self, container: str) -> None:
        """Have it gone, running or not, with its volumes. Nothing where it is gone already."""
        with contextlib.suppress(_Absent), self._told("remove a container", ""):
            self._docker().api.remove_container(container, force=True, v=True)

    def close(self) -> None:
        """Let go of the daemon."""
        if self._client is not None:
            self._client.close()

    def _docker(self) -> Any:
        if self._client is None:
            if self.address.startswith("unix://"):  # the client leaves a socket open where nobody is at its end
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(self.address.removeprefix("unix://"))
            self._client = docker.DockerClient(base_url=self.address, version="auto", timeout=self._timeout)
        return self._client

    @contextlib.contextmanager
    def _told(self, doing: str, image: str) -> Iterator[None]:
        """The client's errors as ours."""
        try:
            yield
        except docker.errors.NotFound as error:
            if not image:
                raise _Absent(doing) from error
            raise failure(doing, str(error.explanation), self.name, image) from error
        except docker.errors.APIError as error:
            raise failure(doing, str(error.explanation), self.name, image) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise unreachable(self.name, self.address, str(error)) from error


class _Absent(Exception):
    """The container is not there."""


def failure(doing: str, text: str, name: str, image: str) -> PipelineError:
    """Return what the daemon's complaint means, in which `text` is its own."""
    what, said = f"the Docker {name} could not {doing}", TOOL.read(text)
    error = TOOL.error(said, doing=what, registry=image.partition("/")[0])
    return error or Unknown(what, cause=said.shown, mend=TOOL.otherwise)


def unreachable(name: str, address: str, text: str) -> PipelineError:
    """What a daemon that cannot be asked means."""
    cause = " ".join(text.split())[-300:]
    if "Permission denied" in text:
        return AuthError(f"this user may not ask the Docker {name}", cause=cause, mend=f"join the group that owns {address}, or use sudo")
    if "No such file or directory" in text:
        return ConfigError(f"there is no Docker at {address}", cause=cause, mend=f"start it, or correct the docker {name} in the site file")
    return Transient(f"the Docker {name} at {address} does not answer", cause=cause)
