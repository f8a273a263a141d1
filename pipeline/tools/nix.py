"""nix: its argv, and what its failures mean. nix 2.8 to 2.3x exit with 1 for nearly everything, so the text decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import BuildError, ConfigError, IntegrityError, PipelineError, ResourceError, Transient
from pipeline.tools.meanings import Rule, Said, Tool, find, patience
from pipeline.tools.nix_log import NixLog, name_of

FEATURES = ("--extra-experimental-features", "nix-command flakes")
# as in `a.b-c'`; no `#`, `?`, `^` or leading dash: the attribute is one part of an installable and stays one
ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*(\.[A-Za-z_][A-Za-z0-9_'-]*)*")
FOLDER = re.compile(r"/[A-Za-z0-9._/+-]+")
DRV = re.compile(r"/nix/store/[0-9a-z]{32}-[^'\s!]+\.drv")
# what is not nix's own in a message of nix: a builder's last lines, and a server's page
QUOTING = re.compile(r"\n\s*> [^\n]*|\n\s*response body:(?s:.*)")
LABEL = re.compile(r"(?:\s*error:)*\s*")
ARCHIVE = re.compile(
    r"(?:\S*/)?(libHSghc-[0-9.]+[^\s:'\"]*\.a)\b.*(?:malformed archive|truncated|not recognized|premature EOF|unexpected end)"
)
INTERFACE = re.compile(r"\.hi\b.*(?:overflow|too large|too big)")
HEAP = re.compile(r"ghc\S*: (?:[Hh]eap exhausted|out of memory)|Heap exhausted;")


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


HASHES = r"hash mismatch in fixed-output derivation '(?P<drv>[^']*)':\s+specified:\s*(?P<wanted>\S+)\s+got:\s*(?P<got>\S+)"
ABSENT = r"flake '[^']*' does not provide attribute (?P<missing>[^\n]+)"
DOWNLOAD = r"unable to download '(?P<url>[^']*)': "
FORGE = r"unable to download '(?P<url>https?://(?:[^/']+\.)?(?:github|githubusercontent|gitlab)\.com/[^']*)': HTTP error "
TOKENS = "on {host}, in /etc/nix/nix.conf: access-tokens = github.com=TOKEN (a token that may read it)"
MEMORY = "lower GHCRTS (-A32m -M2g), keep jobs: 1, lower cores; or give the host more memory"

# The first that fits counts. Recorded outputs: tests/cases/nix. What a builder printed is no part of it, but for what nix makes of it
RULES = (
    # what the flake's author makes it say is the author's text
    Rule(r"… while calling the '(?:throw|abort)' builtin", ConfigError, "the flake cannot be evaluated on {host}",
         "the lines above say where"),
    # the build was under way
    Rule(HASHES, IntegrityError, "{name} is not what the flake says: specified {wanted}, got {got}",
         "if the new content is right, write its hash into the flake; if not, somebody changed what is fetched"),
    Rule(r"note: build failure may have been caused by lack of free disk space|(?:[^:\n]*: )?(?:No space left on device"
         r"|Disk quota exceeded)$",
         ResourceError, "the disk of {host} was full during the build",
         "on {host}: nix store gc; then nix store verify --all --no-trust, since a full disk can leave empty files behind"),
    Rule(r"(?:Reason: )?builder(?: for '[^']*')? failed (?:due to signal 9\b|with exit code 137\b)",
         ResourceError, "{host} ran out of memory while building {name}", MEMORY),
    Rule(r"(?:Reason: )?builder(?: for '[^']*')? failed (?:with|due to) (?P<reason>[^\n;.]+)", BuildError, "{name} failed: {reason}",
         "read the log; nothing was published and nothing was changed"),
    Rule(r"building of '[^']*'[^\n:]* timed out after (?P<seconds>\d+) seconds of silence", BuildError,
         "{name} timed out after {seconds} s of silence", "raise silence in the blueprint, or see in the log where it hung"),
    Rule(r"building of '[^']*'[^\n:]* timed out after (?P<seconds>\d+) seconds", BuildError, "{name} timed out after {seconds} s",
         "raise timeout in the blueprint, or see in the log where it hung"),
    # nix is not there, or not as it is needed
    Rule(r"lacks nix$", ConfigError, "nix is not installed on {host}",
         "apk add nix, apt install nix-bin, or sh <(curl -L https://nixos.org/nix/install)"),
    Rule(r"experimental Nix feature '[^']*' is disabled", ConfigError, "flakes are turned off on {host}",
         "write into /etc/nix/nix.conf there: experimental-features = nix-command flakes"),
    Rule(r"a '[^']*' with features \{[^}]*\} is required to build|Required system: |required \(system, features\)", ConfigError,
         "{host} is another kind of machine than this attribute is for", "build on one of that kind, or name the attribute in full"),
    Rule(r"[^\n:]*(?:is not a trusted user|restricted setting)", ConfigError, "the user on {host} may not set what the build needs",
         "add it to trusted-users in /etc/nix/nix.conf there"),
    Rule(r"cannot connect to (?:socket|daemon)\b|Nix daemon disconnected", Transient, "the nix daemon of {host} does not answer",
         "on {host}: rc-service nix-daemon start, or systemctl start nix-daemon"),
    Rule(r"SQLite database '[^']*' is busy|executing SQLite statement '[^']*': database is (?:locked|busy)", Transient,
         "the nix database of {host} is in use", "on {host}: is a nix-collect-garbage running?"),
    Rule(r"(?:reading from|writing to|cannot read from|cannot write to)[^\n]*: (?:Connection (?:reset by peer|timed out)|Broken pipe)$",
         Transient, "{host} lost a connection during the build", "run it again"),
    Rule(ABSENT, ConfigError, "the flake has no {missing}", "{present}"),
    Rule(r"flake '[^']*' requires lock file changes|[^\n:]*lock file changes but", ConfigError,
         "flake.lock is missing or does not fit flake.nix",
         "nix flake lock, and commit flake.lock: locked on the build host, nobody would know what was built"),
    Rule(r"lock file '[^']*' has unsupported version|[^\n:]*unsupported lock ?file version", ConfigError,
         "flake.lock is of a version that nix on {host} does not read", "update nix there, or make the lock file with an older nix"),
    Rule(r"getting status of '[^']*/flake\.nix': No such file|[^\n]*does not contain a '/?flake\.nix'", ConfigError,
         "there is no flake.nix at the root of the source", "write one; docs/ihp-flake.md shows how"),
    # what has to be fetched
    Rule(r"NAR hash mismatch in input '(?P<input>[^']*)'", IntegrityError, "input {input} is not what flake.lock says",
         "if the new content is right: nix flake update INPUT, and commit flake.lock; if not, somebody changed what is fetched"),
    Rule(rf"{FORGE}(?:403|429)", patience(60.0), "the forge gives {host} no more answers for now: {url}", TOKENS),
    Rule(rf"{FORGE}(?:401|404)", ConfigError, "{url} is not there, or is private", TOKENS),
    Rule(rf"{DOWNLOAD}HTTP error 4(?!08|29)\d\d", BuildError, "what the build needs is not at {url}",
         "see whether it moved; a binary cache that lost it: build without that cache"),
    Rule(rf"{DOWNLOAD}(?:HTTP error (?:5\d\d|429|408)|Couldn't|Could not|Timeout|SSL connect|Failure when receiving|Transferred a partial"
         r"|Server returned nothing|Resolving timed out|Operation too slow)", Transient, "{host} cannot download what the build needs",
         "is the binary cache up, and is the network of the host?"),
    # the flake is at fault
    Rule(r"(?:syntax error, |undefined variable '|attribute '[^']+' missing|infinite recursion encountered|cannot coerce )", ConfigError,
         "the flake cannot be evaluated on {host}", "nix eval it where it was written; the lines above say where"),
    Rule(r"at \S*\.nix:\d+:\d+", ConfigError, "the flake cannot be evaluated on {host}", "the lines above say where"),
)  # fmt: skip


def own(log: NixLog) -> Said:
    """Return nix's own messages, shown with the last lines of the derivation that failed."""
    messages = [*log.messages, *(line for line in log.others if line.startswith("lacks "))]
    sentences = tuple(LABEL.sub("", QUOTING.sub("", message), count=1) for message in messages)
    tail = log.tail(failed) if (failed := derivation(log)) else []
    told = [line for message in (*log.messages, *log.others) for line in message.splitlines()]
    return Said(sentences, "\n".join(tail) if tail else "\n".join([line for line in told if line.strip()][:12]))


def read(text: str) -> Said:
    """Return what `own` does for all that a build printed."""
    log = NixLog()
    for line in text.splitlines():
        log.feed(line)
    return own(log)


TOOL = Tool("nix", RULES, read, "read the log; nothing was published and nothing was changed")


def derivation(log: NixLog) -> str:
    """Return the first derivation that nix's messages name, "" if they name none."""
    return next((match[0] for message in log.messages if (match := DRV.search(message))), "")


def missing(log: NixLog) -> str:
    """Return the attribute that the flake lacks, as nix names it; "" if that is not what failed."""
    found = find((Rule(ABSENT, ConfigError, ""),), own(log).sentences)
    return found[1]["missing"] if found else ""


def failure(log: NixLog, code: int, host: str, where: str, present: Sequence[str] = ()) -> PipelineError:
    """Return the error that a failed build means. `where` names its log; `present` are the attributes the flake does have."""
    failed = derivation(log)
    has = f"it has: {', '.join(present)}" if present else "name one in the blueprint that `nix flake show` lists"
    error = TOOL.meaning(code, own(log), host=host, name=name_of(failed) or "the build", present=has)
    error.log = where
    if isinstance(error, BuildError):
        error.mend = _advice(log.tail(failed), host) or error.mend
    return error


def _advice(tail: Sequence[str], host: str) -> str:
    """Return what to look at if a builder's last lines speak of a known trap of GHC; "" if not. The class is not theirs to choose."""
    text = "\n".join(tail)
    if archive := ARCHIVE.search(text):
        return f"if {archive[1]} is broken as the log says, on {host}: nix store repair its store path (289 MB is whole, 287 MB is not)"
    if INTERFACE.search(text):
        return "GHC 9.10.3 fails above 274 MB of interface file: put the overlay for it into the flake of the application (docs say how)"
    if HEAP.search(text):
        return f"GHC found no memory: {MEMORY}"
    return ""
