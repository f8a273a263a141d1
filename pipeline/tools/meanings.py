"""What the text means that a tool fails with: one engine for all tools.

Each tool's module has a table of rules, and a reader that takes the tool's own sentences out of all that it printed: what a build step, a
hook or a server printed through it is not its own. A rule has to fit from the start of a clause of such a sentence. A clause begins at the
start of a line and after ": " or "; ", by which programs chain what failed and why; never inside of quotes, for names and values stand
there. So an object's name, a number, or the words of another program choose no class, no exit code and no advice. What no rule knows is
Unknown.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol, TypeVar

from pipeline import jsontext
from pipeline.errors import Ambiguous, ConfigError, PipelineError, RateLimited, Unknown

QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"' + r"|(?<!\w)'[^'\n]*'(?!\w)|`[^`\n]*`")
CLAUSE = re.compile(r"(?:[:;]\s+|\n\s*)(?:[*>•-]\s+)?")
NOT_RUN = (126, 127)  # how a shell tells that it could not run a program
SIGNALS = (129, 137, 143)  # how a shell tells that a signal ended what it ran
LINES, LENGTH = 8, 2000  # how much of a tool's words is shown as the cause

# How Go's HTTP clients say that the way to a server broke off, behind the request that they name; and that its name is not known
LOST = (
    r'(?:[^"\n]*[: ])?(?:connection refused|connection reset by peer|no route to host|network is unreachable|host is unreachable'
    r"|broken pipe"
    r"|(?:i/o|connection|TLS handshake|request) timeout|connection timed out|operation timed out|context deadline exceeded"
    r"|server misbehaving"
    r"|[Tt]emporary failure in name resolution|client connection lost|request canceled[^\n]*|(?:unexpected )?EOF$)"
)
NO_NAME = r'(?:[^"\n]*[: ])?no such host'
UNTRUSTED = r'(?:[^"\n]*[: ])?x509: '


def request(path: str = "") -> str:
    """Return the pattern of a request that Go names before it says why it failed; `path` is the pattern of the URL's start."""
    return rf'(?:Get|Head|Post|Put|Patch|Delete) "https?://[^"/]+{path}[^"]*": '


class Pattern(Protocol):
    """What has a `pattern` can be found: the rest says what it means."""

    @property
    def pattern(self) -> str: ...


R = TypeVar("R", bound=Pattern)


@dataclass(frozen=True)
class Rule:
    """What a clause means that begins with `pattern`. In `what` and `mend`, {name} is a group of the pattern or a
    word that the tool's module gives."""

    pattern: str
    error: Callable[..., PipelineError]
    what: str
    mend: str = ""


@dataclass(frozen=True)
class Said:
    """What a tool said as it failed: its own `sentences`, and what of all its output is shown to a person."""

    sentences: tuple[str, ...]
    shown: str


@dataclass(frozen=True)
class Tool:
    """How the failures of one tool are read. `read` takes its words out of its output; `otherwise` is what to do if no rule knows them."""

    name: str
    rules: tuple[Rule, ...]
    read: Callable[[str], Said]
    otherwise: str

    def failure(self, code: int, text: str) -> PipelineError:
        """Return the error that an exit with `code` and all the output mean; see `meaning`."""
        return self.meaning(code, self.read(text))

    def meaning(self, code: int, said: Said, **words: str) -> PipelineError:
        """Return the error that an exit with `code` means after what was said; `words` fill the texts of the rules, beside the groups.

        Ambiguous if a signal ended the tool (`code` is negative, or a shell's 129, 137, 143): nobody knows how far it came. Unknown if no
        rule knows its words: that is not tried again.
        """
        if code < 0 or code in SIGNALS:
            number = -code if code < 0 else code - 128
            mend = "if it happens again, look at that machine's memory: dmesg" if number == 9 else ""
            return Ambiguous(f"{self.name} was ended by signal {number}", cause=said.shown, mend=mend)
        if code in NOT_RUN:
            mend = "install it, or name it under `tools` in the site file"
            return ConfigError(f"{self.name} is not installed, or cannot be run", cause=said.shown, mend=mend)
        return self.error(said, **words) or Unknown(
            f"{self.name} failed (exit {code}), and its words are not known here", cause=said.shown, mend=self.otherwise
        )

    def error(self, said: Said, **words: str) -> PipelineError | None:
        """Return the error that the first rule that fits means, None if none does."""
        if (found := find(self.rules, said.sentences)) is None:
            return None
        rule, match = found
        known = defaultdict(str, words | {key: value or "" for key, value in match.groupdict().items()})
        what, mend = (text.format_map(known) for text in (rule.what, rule.mend))
        return rule.error(what, cause=said.shown, mend=mend)


def patience(seconds: float) -> Callable[..., RateLimited]:
    """Return what makes the error of a peer that asks for patience and does not say for how long."""
    return partial(RateLimited, retry_after=seconds)


def unquoted(text: str) -> str:
    """Return what a Go program's log wrote in quotes, from the quote on; as it is if that is no quoted text."""
    try:
        return str(jsontext.loads(text))
    except ValueError:
        return text


def find(rules: Iterable[R], sentences: Sequence[str]) -> tuple[R, re.Match[str]] | None:
    """Return the first of the `rules` that fits a clause of the sentences, and what it found; None if none does."""
    begun = [(sentence, list(clauses(sentence))) for sentence in sentences]
    for rule in rules:
        pattern = compiled(rule.pattern)
        for sentence, starts in begun:
            for start in starts:
                if match := pattern.match(sentence, start):
                    return rule, match
    return None


def clauses(sentence: str) -> Iterator[int]:
    """Yield where each clause of a sentence begins."""
    quoted = [found.span() for found in QUOTED.finditer(sentence)]
    yield len(sentence) - len(sentence.lstrip())
    for found in CLAUSE.finditer(sentence):
        if not any(start < found.start() < end for start, end in quoted):
            yield found.end()


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern, compiled once; $ is the end of a line."""
    return re.compile(pattern, re.MULTILINE)


def shown(lines: Iterable[str], most: int = LINES) -> str:
    """Return the last lines that say something, as far as they are shown."""
    return "\n".join([line.rstrip() for line in lines if line.strip()][-most:])[-LENGTH:]
