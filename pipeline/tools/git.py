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
from pipeline.tools.meanings import Rule, Said, Tool, find, shown

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
KEY = "compare the fingerprint with its owner's word; then add the key to the known_hosts file that the site names"
PROTOCOLS = "https:ssh"  # `ext::` runs programs, `file:` reads this machine


def remote_url(remote: Remote, app: str) -> str:
    """The address of `remote` for `app`. Raises ConfigError where it is not ssh or https, or could be read as an option."""
    url = remote.url.replace("{app}", app)
    if not any(form.fullmatch(url) for form in URLS):
        raise ConfigError(
            f"git remote {url!r} is not an address that is used here",
            mend="write ssh://user@host:port/path, user@host:path or https://host/path (credentials are not part of it)",
        )
    return url


def kept_ref(commit: str) -> str:
    """Return the ref under which a release leaves its commit in a git remote: branches are moved by people alone."""
    return f"refs/pipeline/{commit}"


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


UNREACHABLE = (
    r"^(?:ssh: connect to host \S+ port \d+: (?:Connection (?:refused|timed out)|Operation timed out|No route to host"
    r"|Network is unreachable)"
    r"|ssh: Could not resolve hostname [^:]+: Temporary failure in name resolution|kex_exchange_identification: "
    r"|Connection (?:closed|reset) by \S+ port \d+|Connection timed out during banner exchange|client_loop: send disconnect: "
    r"|Timeout, server \S+ not responding"
    r"|(?:fatal: )?unable to access '[^']*': (?:The requested URL returned error: (?:408|429|50\d)|Failed to connect to "
    r"|Connection timed out"
    r"|Recv failure: |Send failure: |OpenSSL SSL_|GnuTLS |SSL connection timeout|Empty reply from server|Operation too slow"
    r"|Could not resolve proxy))"
)
MISSING = (
    Rule(
        r"(?:repository '[^']*' (?:not found|does not exist)|'[^']*' does not appear to be a git repository"
        r"|(?<=ERROR: )Repository not found|(?<=Gitea: )Repository not found|(?<=remote: )Repository not found\.$"
        r"|Cannot find repository: \S"
        r"|unable to access '[^']*': The requested URL returned error: 404)",
        ConfigError,
        "{where} does not exist, or the key may not see it",
        "make the repository there, or mend the remote's url",
    ),
)
DENIED = r"(?:RPC failed; HTTP 403|(?:unable to access '[^']*': )?The requested URL returned error: 403)"
_WRITE = AuthError, "the key may not write to {where}", "give the deploy key write access there, or name another"
_READ = AuthError, "the key may not read {where}", "make it a deploy key of that repository, or name another"
# The first that fits counts. Texts are git 2.39's, OpenSSH 9's, Gitea 1.26's, and those of GitHub's documentation
WRITING = (
    Rule(
        r"(?:[^\n:]*marked as read only|(?:Public \()?Deploy\)? Key: [^\n]* is not authorized to write |Permission to \S+ denied to "
        r"|Write access to repository not granted)",
        *_WRITE,
    ),
    Rule(DENIED, *_WRITE),
    Rule(
        r"(?:GH0\d\d: |Not allowed to push |Repo: \S+ is archived|refusing to (?:update|delete)|deny updating|[^\n:]*prohibited by"
        r"|(?:pre-receive|update) hook declined|[^:\n]*[Pp]rotected branch|\[remote rejected\])",
        ConfigError,
        "{where} refuses the commit",
        "let this key push to that branch; or, in a GitOps repository, name another `branch` that is merged by a person",
    ),
)
RULES = (
    Rule(r"(?:Public \(Deploy\) Key|Deploy Key): [^\n]* is not authorized to read ", *_READ),
    Rule(DENIED, *_READ),
    Rule(r"@\s+WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", HostKeyError, "the host key of {where} has changed", KEY),
    Rule(r"^(?:Host key verification failed\.|No \S+ host key is known for )", HostKeyError, "the host key of {where} is not known", KEY),
    Rule(r"Permissions 0\d+ for '(?P<file>[^'\n]+)' are too open", ConfigError, "the private key for {where} can be read by others",
         "chmod 600 {file}"),
    Rule(r"^\S+@\S+: Permission denied \(|Authentication failed for '|could not read Username for '", AuthError, "{where} refuses the key",
         "see that the .pub is known there of the key that is used: identity_file in the site file, else ~/.ssh or the agent (ssh-add -l)"),
    Rule(r"^(?:remote: )?(?:fatal|error): [^\n]+: (?:No space left on device|Disk quota exceeded)$", ResourceError,
         "no space left for {where}", "the text says on which side; free some space there"),
    Rule(UNREACHABLE, Transient, "{where} cannot be reached", "is it up, and is the address right?"),
    Rule(r"(?:ssh: |unable to access '[^']*': )?Could not resolve host", ConfigError, "the name of {where} is not known",
         "check the remote's url in the site file"),
    *MISSING,
    Rule(
        r"(?:RPC failed; HTTP (?:429|5\d\d)|Internal Server (?:Connection )?Error|The requested URL returned error: (?:429|5\d\d))",
        Transient,
        "{where} answers with an error of its own",
        "its log says why; the disk and the database first",
    ),
    Rule(r"(?:(?:fetch|send)-pack: unexpected disconnect|early EOF|[Tt]he remote end hung up )", Ambiguous,
         "{where} went away in the middle", "run it again: what arrived is found"),
)  # fmt: skip


def own(text: str) -> Said:
    """Return the lines of git, of its ssh and of the server that speaks through them."""
    lines = text.splitlines()
    return Said(tuple(line.strip() for line in lines if line.strip()), shown(lines, 6))


READER, WRITER = (Tool("git", rules, own, "run the same by hand") for rules in (RULES, WRITING + RULES))


def remote_error(errors: str, where: str, *, writing: bool = False) -> PipelineError:
    """Return what a failed push, fetch or ls-remote means. `writing` says that the other side may have taken it all the same."""
    error = (WRITER if writing else READER).meaning(1, own(errors), where=where)
    if type(error) is Ambiguous and not writing:
        return Transient(error.what, cause=error.cause, mend=error.mend)
    return error


def is_missing(errors: str) -> bool:
    """Return whether the other side says that there is no such repository."""
    return find(MISSING, own(errors).sentences) is not None


OWN = "there, as the user that the site file names: sudo install -d -o $(id -un)"  # a folder of one's own


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
            f"the pipeline's folder on {host} cannot be written",
            cause=cause,
            mend=f"{OWN} /var/lib/pipeline, or name another `state` of the host in the site file",
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
