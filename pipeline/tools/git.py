"""git as it speaks to other machines: argv, what it answers, and what its complaints mean. Texts are git 2.39's and OpenSSH 9's."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from pipeline.errors import (
    Ambiguous,
    AuthError,
    ConfigError,
    HostKeyError,
    IntegrityError,
    Locked,
    PipelineError,
    ResourceError,
    Transient,
)
from pipeline.stage import Remote

# https://git-scm.com/docs/git-check-ref-format, and narrower: what no shell and no option parser could misread
BRANCH = re.compile(r"(?![./-])(?!.*(\.\.|//|@\{|\.lock(/|$)|/\.))[A-Za-z0-9._/@+=,#%-]+(?<![./])")
HOST = r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9a-fA-F:.]+\])"
USER = r"[A-Za-z0-9_][A-Za-z0-9._-]*@"
PATH = r"[A-Za-z0-9._~][A-Za-z0-9._~/+-]*"
URLS = (
    re.compile(rf"ssh://(?:{USER})?{HOST}(?::[0-9]{{1,5}})?/{PATH}"),
    re.compile(rf"(?:{USER})?{HOST}:(?!//){PATH}"),
    re.compile(rf"https://{HOST}(?::[0-9]{{1,5}})?/{PATH}"),
)
PROTOCOLS = "https:ssh"  # `ext::` runs programs, `file:` reads this machine
PASSING = (
    "Connection refused",
    "Connection timed out",
    "Connection reset",
    "Operation timed out",
    "No route to host",
    "Network is unreachable",
    "Temporary failure in name resolution",
    "kex_exchange_identification",
    "Connection closed by",
    "Broken pipe",
    "returned error: 50",
    "Failed to connect",
    "Timeout, server",
)


def remote_url(remote: Remote, app: str) -> str:
    """The address of `remote` for `app`. Raises ConfigError where it is not ssh or https, or could be read as an option."""
    url = remote.url.replace("{app}", app)
    if not any(form.fullmatch(url) for form in URLS):
        raise ConfigError(
            f"git remote {url!r} is not an address that is used here",
            mend="write ssh://user@host:port/path, user@host:path or https://host/path (credentials are not part of it)",
        )
    return url


def branch_name(branch: str) -> str:
    """`branch`, where its name is a plain one. Raises ConfigError otherwise."""
    if not BRANCH.fullmatch(branch):
        raise ConfigError(f"branch {branch!r} has a name that is not taken here", mend="git branch --move it to a plain one")
    return branch


def ssh_command(remote: Remote) -> str:
    """GIT_SSH_COMMAND, which git gives to a shell: every word quoted. Never asks, never learns a key, notices a dead line in 45 s."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "ConnectionAttempts": "1",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "3",
        "ForwardAgent": "no",
        "ControlPath": "none",  # a left-over master of the user's would be waited for
    }
    if remote.identity_file:
        options |= {"IdentityFile": remote.identity_file, "IdentitiesOnly": "yes"}
    if remote.known_hosts:
        options |= {"UserKnownHostsFile": remote.known_hosts, "GlobalKnownHostsFile": "/dev/null"}
    words = ["ssh"]
    for name, value in options.items():
        # ssh itself splits the value at blanks: those that take a file name want it in quotes
        words += ["-o", f'{name}="{value}"' if name.endswith("File") else f"{name}={value}"]
    return shlex.join(words)


def by_hand(remote: Remote) -> str:
    """What a person has to write before `git` to reach `remote` as it is reached here, "" where their own settings do."""
    return f"GIT_SSH_COMMAND={shlex.quote(ssh_command(remote))} " if remote.identity_file or remote.known_hosts else ""


def environment(remote: Remote) -> dict[str, str]:
    """What git needs to speak to `remote` and to nothing else."""
    return {"GIT_SSH_COMMAND": ssh_command(remote), "GIT_SSH_VARIANT": "ssh", "GIT_ALLOW_PROTOCOL": PROTOCOLS}


# a line that carries fewer than 1000 bytes/s for 45 s is dead
TRANSPORT = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=45", "-c", "credential.interactive=false")


def push(url: str, commit: str, ref: str) -> tuple[str, ...]:
    """Words that push one commit to one ref, never with force, and nothing else."""
    options = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--recurse-submodules=no")
    return (*TRANSPORT, "push", *options, "--", url, f"{commit}:{ref}")


def list_ref(url: str, ref: str) -> tuple[str, ...]:
    """Words that ask what `ref` of a remote is."""
    return (*TRANSPORT, "ls-remote", "--", url, ref)


def fetch(url: str, ref: str) -> tuple[str, ...]:
    """Words that bring the objects of a remote's `ref` here and move no ref."""
    return (*TRANSPORT, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--", url, ref)


def read_listed(output: bytes) -> str:
    """The object id in the answer of `list_ref`, "" where the ref is not there."""
    first = output.decode(errors="replace").split("\n", 1)[0]
    return first.split("\t", 1)[0].strip()


@dataclass(frozen=True)
class Pushed:
    """What `git push --porcelain` said of the ref: `flag` is a blank (moved), * (new), = (was there), ! (refused)."""

    flag: str
    summary: str

    @property
    def done(self) -> bool:
        return self.flag in (" ", "*", "=")


def read_push(output: bytes) -> Pushed | None:
    """The line about the ref, None where git did not get that far."""
    for line in output.decode(errors="replace").splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and len(fields[0]) == 1 and ":" in fields[1]:
            return Pushed(fields[0], fields[2])
    return None


KEY = "see that the .pub is known there of the key that is used: identity_file in the site file, else ~/.ssh and the agent (ssh-add -l)"


def remote_error(errors: str, where: str, *, writing: bool = False) -> PipelineError:
    """What a failed push, fetch or ls-remote means. `writing` says that the other side may have taken it all the same."""
    cause = "\n".join(errors.strip().splitlines()[-6:])
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors or "Host key verification failed" in errors:
        changed = "HAS CHANGED" in errors
        return HostKeyError(
            f"the host key of {where} {'has changed' if changed else 'is not known'}",
            cause=cause,
            mend="compare the fingerprint with its owner's word; then add the key to the known_hosts file that the site names",
        )
    if exposed := re.search(r"Permissions 0\d+ for '(.+)' are too open", errors):
        return ConfigError(f"the private key for {where} can be read by others", cause=cause, mend=f"chmod 600 {exposed[1]}")
    if "Permission denied (" in errors or "Authentication failed" in errors or "could not read Username" in errors:
        return AuthError(f"{where} refuses the key", cause=cause, mend=KEY)
    if any(text in errors for text in ("No space left on device", "Disk quota exceeded")):
        return ResourceError(f"no space left for {where}", cause=cause, mend="the text says on which side; free some space there")
    if any(text in errors for text in PASSING):
        return Transient(f"{where} cannot be reached", cause=cause, mend="is it up, and is the address right?")
    if "Could not resolve host" in errors:
        return ConfigError(f"the name of {where} is not known", cause=cause, mend="check the remote's url in the site file")
    if is_missing(errors):
        return ConfigError(f"{where} does not exist", cause=cause, mend="make the repository there, or mend the remote's url")
    if any(text in errors for text in ("unexpected disconnect", "early EOF", "hung up unexpectedly", "the remote end hung up")):
        return (Ambiguous if writing else Transient)(f"{where} went away in the middle", cause=cause)
    if "pre-receive hook declined" in errors or "protected branch" in errors:
        return ConfigError(f"{where} refuses the push", cause=cause, mend="ask its owner to let this be pushed")
    return ConfigError(f"git cannot use {where}", cause=cause, mend="run the same push by hand: git push")


def is_missing(errors: str) -> bool:
    """Whether the other side says that there is no such repository."""
    texts = ("does not exist", "not found", "does not appear to be a git repository", "Not found", "Cannot find repository")  # Gitea's last
    return any(text in errors for text in texts)


def receive_error(code: int, errors: str, host: str, tree: str) -> PipelineError:
    """What `receive.sh` means by its exit code and the text of the git on the host."""
    free = _free(errors)
    said = [line for line in errors.strip().splitlines() if line.split(" ", 1)[0] not in ("space", "inodes")]
    cause = "\n".join(said[-6:])
    if code == 71:
        tool = said[-1].removeprefix("lacks ") if said else "git"
        return lacking(tool, host)
    if code == 72:
        return Locked(f"another sync to {host} is at work", cause=cause, mend="wait, then run again; or: --wait SECONDS")
    if is_full(errors):
        inodes = free.get("inodes", 1) < 1000 < free.get("space", 0)
        left = f"{free.get('inodes', 0)} inodes" if inodes else f"{free.get('space', 0) / 1024:.1f} MiB"
        return ResourceError(
            f"the disk of {host} is full: {left} left",
            cause=cause,
            mend=f"on {host}: nix store gc, remove old trees and logs, then run again",
        )
    if "Permission denied" in errors or "Read-only file system" in errors:
        return ConfigError(
            f"the pipeline's folder on {host} cannot be written", cause=cause, mend="chown it, or name another `state` in the site file"
        )
    if code == 74:
        return IntegrityError(
            f"the files written on {host} are not tree {tree[:12]}",
            cause=cause,
            mend=f"check the disk and the file system of {host}; nothing was published",
        )
    if code == 75:
        return IntegrityError(
            f"the pack does not hold together on {host}", cause=cause, mend=f"git fsck here; on {host}, remove source.git"
        )
    return ConfigError(f"git on {host} failed with code {code}", cause=cause, mend=f"run git --version on {host}; 2.20 or newer is needed")


def is_full(errors: str) -> bool:
    """Whether a failure of `receive.sh` is one of a full disk: git says so, or says nothing and nothing is left."""
    free = _free(errors)
    said = "No space left on device" in errors or "Disk quota exceeded" in errors
    return said or free.get("space", 1024) < 1024 or free.get("inodes", 10) < 10


def _free(errors: str) -> dict[str, int]:
    """KiB and inodes that were free when the script failed."""
    pairs = (line.split(" ") for line in errors.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in ("space", "inodes") and pair[1].isdigit()}


def lacking(tool: str, host: str) -> ConfigError:
    """A tool that has to be installed on `host` first."""
    package = {"flock": "util-linux"}.get(tool, tool)
    return ConfigError(f"{tool} is not installed on {host}", mend=f"apt install {package}, or apk add {tool}")
