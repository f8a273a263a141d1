"""git as it is called for a GitOps repository: what it says of the server, of the clone here and of a key, in this project's words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, PipelineError, Transient
from pipeline.host.child import Child
from pipeline.source.repository import Repository, environment, refusal
from pipeline.tools import git

# texts are git 2.39's, of a clone whose files were cut, emptied or taken away, or whose git was killed in the middle
BROKEN = (
    "not a git repository",
    "bad object",
    "bad revision",
    "bad config",
    "bad tree object",
    "bad signature",
    "unknown index entry format",
    "index file corrupt",
    "is corrupt",
    "is empty",
    "is truncated",
    "is garbage",
    "not a valid object",
    "not a valid tree object",
    "Not a valid",
    "unable to read",
    "unable to unpack",
    "unable to resolve reference",
    "reference broken",
    "inflate: ",
    "hash mismatch",
    "missing blob",
    "missing tree",
    "missing commit",
    "missing object",
    "Could not read",
    "could not parse commit",
    "cannot lock ref",
    "File exists",
    "remove the file manually",
    "did not send all necessary objects",
    "packfile ",
)
# this machine's, and no clone made anew would change them
OF_THE_MACHINE = ("No space left", "quota exceeded", "Permission denied", "insufficient permission", "dubious ownership", "Read-only file")
# ssh and Gitea or GitHub say "Could not read from remote repository." whatever it is
OF_THE_SERVER = ("Could not read from remote repository", "could not read Username", "Could not resolve host")
RACED = ("fetch first", "non-fast-forward", "cannot lock ref", "failed to update ref", "incorrect old value", "reference already exists")


@dataclass(frozen=True)
class Done:
    """What a git process left."""

    code: int
    output: bytes
    errors: str


class Damaged(ConfigError):
    """The clone here does not hold together; it is a copy, and is made anew."""


def call(repository: Repository, *words: str, stdin: bytes = b"", env: Mapping[str, str], timeout: float) -> Done:
    """Run `git words…` with no terminal to ask on, and end it with its children after `timeout` seconds or where this is interrupted.

    Raises Transient after that time, ConfigError where git is not installed.
    """
    try:
        process: Child[bytes] = Child(
            repository.argv(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
        )
    except FileNotFoundError as error:
        raise ConfigError(f"{repository.program} is not installed on this machine", mend="install it: apt install git") from error
    try:
        output, errors = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise Transient(f"git took longer than {timeout:.0f} s and was ended", cause=" ".join(words[-3:])) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Done(process.returncode, output, errors.decode(errors="replace"))


def run(repository: Repository, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
    """`Repository.run`. Raises Damaged where what is wrong is the clone."""
    try:
        return repository.run(*words, stdin=stdin, env=env)
    except ConfigError as error:
        if is_broken(error.cause):
            raise damaged(repository, error.cause) from error
        raise


def is_broken(errors: str) -> bool:
    """Whether a complaint of git is about the clone here, and not about the one over there."""
    here = "\n".join(line for line in errors.splitlines() if not line.startswith("remote:"))
    return any(text in here for text in BROKEN) and not any(text in errors for text in (*OF_THE_SERVER, *OF_THE_MACHINE))


def machine_error(errors: str, clone: Path) -> PipelineError | None:
    """What a complaint means that is about this machine's disk or its rights in the clone's folder; None where it is about neither."""
    here = any(text in errors for text in OF_THE_MACHINE) and not any(text in errors for text in (*OF_THE_SERVER, "remote: "))
    return refusal(errors, clone) if here else None


def damaged(repository: Repository, errors: str) -> Damaged:
    return Damaged(
        f"the copy of the GitOps repository in {repository.path} is damaged",
        cause=_end(errors),
        mend=f"rm -r {repository.path}; it is only a copy, and is made anew by the next run",
    )


def server_error(errors: str, where: str, *, writing: bool = False) -> PipelineError:
    """Return what a failed push, fetch or ls-remote of a GitOps repository means, as `git.remote_error` says."""
    error = git.remote_error(errors, where, writing=writing)
    error.cause = _end(errors)
    if git.is_missing(errors):
        error.mend = f"inv flux.bootstrap makes it if the blueprint says who keeps it (gitops.forge); or {error.mend}"
    return error


def raced(pushed: git.Pushed | None) -> bool:
    """Whether a push was refused since the branch had moved."""
    return pushed is not None and pushed.flag == "!" and any(text in pushed.summary for text in RACED)


def signing_error(errors: str, kind: str) -> ConfigError:
    """Why a commit could not be signed with a key of `kind` (openpgp, ssh, x509). Texts are git 2.39's, OpenSSH 9's and GnuPG 2.2's."""
    ways = {
        "ssh": "git config user.signingkey ~/.ssh/id_ed25519.pub (and ssh-add the key where it has a passphrase)",
        "openpgp": "git config user.signingkey KEY-ID; gpg --list-secret-keys shows those there are; sign once by hand to unlock it",
    }
    why = "the commit could not be signed"
    if "cannot run" in errors or "cannot exec" in errors:
        why = "the program that signs is not installed"
    elif any(text in errors for text in ("incorrect passphrase", "Inappropriate ioctl", "No pinentry", "Operation cancelled", "Timeout")):
        why = "the signing key is locked by a passphrase, and nobody is asked here"
    elif any(
        text in errors
        for text in ("No secret key", "needs to be", "No such file", "no default", "Couldn't load", "Couldn't find", "INV_SGNR")
    ):
        why = "there is no signing key"
    return ConfigError(why, cause=_end(errors), mend=ways.get(kind, ways["openpgp"]) + "; or `sign: false` in the deploy stage")


def _end(errors: str) -> str:
    lines = (line.rstrip() for line in errors.splitlines())
    told = [line for line in lines if line.removeprefix("remote:").strip(" \t#=-") not in ("", "error:")]
    return "\n".join(told)[-1200:]
