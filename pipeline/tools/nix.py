"""nix: its argv, and what its failures mean. nix 2.8 to 2.3x exit with 1 for nearly everything, so the text decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import BuildError, ConfigError, IntegrityError, PipelineError, ResourceError, Transient
from pipeline.tools.nix_log import NixLog, name_of

FEATURES = ("--extra-experimental-features", "nix-command flakes")
# as in `a.b-c'`; no `#`, `?`, `^` or leading dash: the attribute is one part of an installable and stays one
ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*(\.[A-Za-z_][A-Za-z0-9_'-]*)*")
FOLDER = re.compile(r"/[A-Za-z0-9._/+-]+")
DRV = re.compile(r"/nix/store/[0-9a-z]{32}-[^'\s!]+\.drv")
UNAVAILABLE = re.compile(
    r"unable to download '[^']*': (?:HTTP error (?:5\d\d|429|408)|Couldn't|Could not|Timeout|SSL connect|Failure when receiving"
    r"|Transferred a partial|Server returned nothing|Resolving timed out|Operation too slow)",
)
MISMATCH = re.compile(r"hash mismatch in fixed-output derivation '([^']+)'.*?specified:\s*(\S+)\s+got:\s*(\S+)", re.DOTALL)
ABSENT = re.compile(r"does not provide attribute (.+?)(?:\n|$)")
TIMEOUT = re.compile(r"timed out after (\d+) seconds( of silence)?")
ARCHIVE = re.compile(r"(?:\S*/)?libHSghc-[0-9.]+[^\s:'\"]*\.a")
BROKEN_ARCHIVE = re.compile(
    r"malformed archive|truncated|loadArchive|file not recognized|file format not recognized|premature EOF|unexpected end", re.IGNORECASE
)
INTERFACE = re.compile(
    r"\.hi\b.*(?:overflow|too large|too big)|(?:overflow|too large|too big).*\.hi\b|interface file.*overflow", re.IGNORECASE
)
FULL = ("No space left on device", "Disk quota exceeded", "lack of free disk space")
MEMORY = re.compile(
    r"failed due to signal 9\b|exit code 137\b|[Cc]annot allocate memory|[Hh]eap exhausted|ghc[^:]*: out of memory|Killed$", re.MULTILINE
)


@dataclass(frozen=True)
class Limits:
    """What one build may use: derivations at a time, cores of each (0: all), seconds in all and seconds without output (0: no limit)."""

    jobs: int
    cores: int
    timeout: int
    silence: int


def build(link: str, limits: Limits) -> tuple[str, ...]:
    """argv that builds what follows it after `--`, with a GC root at `link`. JSON goes to stdout, the log to stderr.

    A lock file that would have to change is an error: written silently on the host it would lie about what was built.
    """
    return (
        *("nix", *FEATURES, "build", "--json", "--log-format", "internal-json", "--no-update-lock-file"),
        *("--max-jobs", str(limits.jobs), "--cores", str(limits.cores)),
        *("--timeout", str(limits.timeout), "--max-silent-time", str(limits.silence)),
        *("--out-link", link),
    )


def attributes(tree: str) -> tuple[str, ...]:
    """argv that lists the packages of a flake, by system."""
    names = "packages: builtins.mapAttrs (_: builtins.attrNames) packages"
    return ("nix", *FEATURES, "eval", "--json", "--no-update-lock-file", "--apply", names, "--", installable(tree, "packages"))


def installable(tree: str, attribute: str) -> str:
    """`path:` and the attribute. Raises ConfigError where either could be read as something else."""
    if not ATTRIBUTE.fullmatch(attribute):
        raise ConfigError(f"{attribute!r} is not a flake attribute", mend="write one like docker, or packages.x86_64-linux.docker")
    if not FOLDER.fullmatch(tree):
        raise ConfigError(f"folder {tree!r} cannot be named in a flake reference", mend="name a plain `state` folder in the site file")
    return f"path:{tree}#{attribute}"


def missing(log: NixLog) -> str:
    """The attribute that the flake lacks, as nix names it; "" where that is not what failed."""
    found = ABSENT.search("\n".join(log.messages))
    return found[1] if found else ""


def failure(log: NixLog, code: int, host: str, where: str, present: Sequence[str] = ()) -> PipelineError:
    """What a failed build means. `where` names its log; `present` are the attributes the flake does have, where one is missing.

    Recorded outputs: tests/cases/nix. The order matters: a full disk shows in a builder's output, and then in nix's own.
    """
    told = "\n".join([*log.messages, *log.others])
    drv = next((match[0] for message in log.messages if (match := DRV.search(message))), "")
    lines = [*log.tail(drv), *told.splitlines()[-10:]]
    text = "\n".join(lines)
    everything = f"{told}\n{text}"
    cause = "\n".join(told.strip().splitlines()[:12])
    for read in (_set_up, _flake):
        if error := read(told, host, present):
            error.cause, error.log = cause, where
            return error
    if mismatch := MISMATCH.search(told):
        return IntegrityError(
            f"{name_of(mismatch[1])} is not what the flake says: got {mismatch[3]}",
            cause=f"specified {mismatch[2]}\ngot       {mismatch[3]}",
            mend="if the new content is right, write its hash into the flake; if not, somebody changed what is fetched",
            log=where,
        )
    if any(words in everything for words in FULL):
        return ResourceError(
            f"the disk of {host} was full during the build",
            cause=text,
            mend=f"on {host}: nix store gc; then nix store verify --all --no-trust, since a full disk can leave empty files behind",
            log=where,
        )
    if (archive := ARCHIVE.search(text)) and BROKEN_ARCHIVE.search(text):
        return IntegrityError(
            f"{archive[0].rsplit('/', 1)[-1]} in the store of {host} is broken",
            cause=text,
            mend=f"on {host}: nix store repair its store path (289 MB is whole, 287 MB is not); check again after a lock update",
            log=where,
        )
    if INTERFACE.search(text):
        return BuildError(
            "GHC cannot read an interface file of this size back",
            cause=text,
            mend="GHC 9.10.3 fails above 274 MB: put the overlay for it into the flake of the application (docs say how)",
            log=where,
        )
    if MEMORY.search(everything):
        return ResourceError(
            f"{host} ran out of memory while building {name_of(drv) or 'it'}",
            cause=text,
            mend="lower GHCRTS (-A32m -M2g), keep jobs: 1, lower cores; or give the host more memory",
            log=where,
        )
    if error := _passing(told, host):
        error.cause, error.log = cause, where
        return error
    if late := TIMEOUT.search(told):
        return BuildError(
            f"{name_of(drv) or 'the build'} timed out after {late[1]} s{late[2] or ''}",
            cause="\n".join(log.tail(drv)),
            mend=f"raise {'silence' if late[2] else 'timeout'} in the blueprint, or see in the log where it hung",
            log=where,
        )
    tail = log.tail(drv)
    reason = _reason(told) or f"nix ended with code {code}"
    return BuildError(
        f"{name_of(drv) if drv else 'the build'} failed: {reason}",
        cause="\n".join(tail) if tail else cause,
        mend="read the log; nothing was published and nothing was changed",
        log=where,
    )


def _set_up(told: str, host: str, _present: Sequence[str]) -> PipelineError | None:
    """nix is not there, or not as it is needed."""
    if "lacks nix" in told:
        return ConfigError(
            f"nix is not installed on {host}", mend="apk add nix, apt install nix-bin, or sh <(curl -L https://nixos.org/nix/install)"
        )
    if "experimental Nix feature" in told and "is disabled" in told:
        return ConfigError(
            f"flakes are turned off on {host}",
            mend="write into /etc/nix/nix.conf there: experimental-features = nix-command flakes",
        )
    if ("is required to build" in told and "but I am a" in told) or "Required system" in told or "required (system, features)" in told:
        return ConfigError(
            f"{host} is another kind of machine than this attribute is for", mend="build on one of that kind, or name the attribute in full"
        )
    if "is not a trusted user" in told or "restricted setting" in told:
        return ConfigError(
            f"the user on {host} may not set what the build needs", mend="add it to trusted-users in /etc/nix/nix.conf there"
        )
    return None


def _flake(told: str, host: str, present: Sequence[str]) -> PipelineError | None:
    """The flake is at fault, before anything was built."""
    if absent := ABSENT.search(told):
        names = ", ".join(present)
        return ConfigError(
            f"the flake has no {absent[1]}", mend=f"it has: {names}" if names else "name one in the blueprint that `nix flake show` lists"
        )
    if "requires lock file changes" in told or "lock file changes but" in told:
        return ConfigError(
            "flake.lock is missing or does not fit flake.nix",
            mend="nix flake lock, and commit flake.lock: locked on the build host, nobody would know what was built",
        )
    if "flake.nix" in told and ("No such file or directory" in told or "does not contain a" in told):
        return ConfigError("there is no flake.nix at the root of the source", mend="write one; docs/ihp-flake.md shows how")
    if "failed with exit code" in told or "builder failed" in told or "Cannot build" in told or "timed out" in told:
        return None
    if re.search(
        r"error:[^\n]*(syntax error|undefined variable|attribute '[^']+' missing|infinite recursion|cannot coerce|is not a)", told
    ):
        return ConfigError(f"the flake cannot be evaluated on {host}", mend="nix eval it where it was written; the lines above say where")
    if re.search(r"at .*/[^/]+\.nix:\d+:\d+", told):
        return ConfigError(f"the flake cannot be evaluated on {host}", mend="the lines above say where")
    return None


def _passing(told: str, host: str) -> PipelineError | None:
    """What passes by itself."""
    if "cannot connect to socket" in told or "cannot connect to daemon" in told or "Nix daemon disconnected" in told:
        return Transient(
            f"the nix daemon of {host} does not answer", mend=f"on {host}: rc-service nix-daemon start, or systemctl start nix-daemon"
        )
    if re.search(r"database is (?:locked|busy)|SQLite database '[^']*' is busy", told):
        return Transient(f"the nix database of {host} is in use", mend=f"on {host}: is a nix-collect-garbage running?")
    if UNAVAILABLE.search(told):
        return Transient(f"{host} cannot download what the build needs", mend="is the binary cache up, and is the network of the host?")
    if "Connection reset by peer" in told or "Connection timed out" in told:
        return Transient(f"{host} lost a connection during the build")
    return None


def _reason(told: str) -> str:
    found = re.search(r"(?:Reason: )?(?:builder|builder for '[^']*') failed (?:with|due to) ([^\n;.]+)", told)
    return found[1] if found else ""
