"""One look at everything: all questions asked at once, each judged; and what is said where the looking ends without success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Check, Release
from pipeline.errors import Expired, PipelineError, Transient, VerifyError
from pipeline.verify import pods
from pipeline.verify.parallel import at_once
from pipeline.verify.question import Question
from pipeline.verify.view import View
from pipeline.verify.web import Unreachable

REQUEST = 5.0  # seconds for one page, redirects included
SHORTEST = 0.2  # seconds: with less than that left, one more look could only time out and hide what the look before saw


@dataclass(frozen=True)
class Look:
    """One look at everything: `unreached` are the places that could not be reached, where no check speaks against the release and some
    could just not be made; `patience` how many seconds a peer asked for. `failed` are the questions whose checks do not hold, `final`
    those of them that no later look will see hold."""

    checks: tuple[Check, ...]
    unreached: tuple[str, ...]
    patience: float
    failed: tuple[Question, ...]
    final: tuple[Question, ...]

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def waiting(self) -> str:
        """What is not yet as it should be, for whoever watches."""
        failed = [check for check in self.checks if not check.passed]
        return f"{len(failed)} of {len(self.checks)} checks not yet: {failed[0].name}: {failed[0].evidence}"


def look(questions: Sequence[Question], view: View, left: float) -> Look:
    """Everything asked at once, equal questions once. Raises what a question raised, but for a Transient, which fails its checks."""
    seconds = max(SHORTEST, min(REQUEST, left))
    by_key = {question.key: question for question in questions}
    asks = [lambda question=question: question.ask(view, seconds) for question in by_key.values()]
    answers: list[Any] = at_once(asks, seconds + 1)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, Transient):
            raise answer
    by_answer = dict(zip(by_key, answers, strict=True))
    checks = [_judged(question, by_answer[question.key]) for question in questions]
    failed = [question for question, check in zip(questions, checks, strict=True) if not check.passed]
    blind = all(isinstance(by_answer[question.key], Unreachable) for question in failed)
    places = tuple(dict.fromkeys(question.place for question in failed)) if blind else ()
    patience = max((getattr(answer, "retry_after", 0.0) for answer in answers), default=0.0)
    final = [each for each in failed if not isinstance(by_answer[each.key], Transient) and each.is_final(by_answer[each.key])]
    return Look(tuple(checks), places, patience, tuple(failed), tuple(final))


def _judged(question: Question, answer: Any) -> Check:
    return Check(question.name, False, answer.what) if isinstance(answer, Transient) else question.judge(answer)


def given_up(release: Release, seen: Look, public: str, seconds: float) -> PipelineError:
    """The error of a release that did not pass: Expired where all that is wrong is that something could not be reached."""
    name = f"{release.namespace}/{release.name} revision {release.revision} ({release.source.label})"
    if seen.unreached:
        return Expired(
            f"{name} is unverified: {' and '.join(sorted(seen.unreached))} could not be reached for {seconds:.0f} s",
            cause=evidence(seen.checks),
            mend="the release stays as it is; look at the way from here to there, then run `inv verify`",
        )
    waited = ", and no controller mends it" if seen.final else f" after {seconds:.0f} s"
    return VerifyError(
        f"{len(seen.failed)} of {len(seen.checks)} checks of {name} do not hold{waited}",
        cause=evidence(seen.checks),
        mend=_mend(seen, public),
    )


def evidence(checks: Sequence[Check]) -> str:
    """Every check on a line, those that failed last."""
    ordered = [check for check in checks if check.passed] + [check for check in checks if not check.passed]
    return "\n".join(f"{'passed' if check.passed else 'failed'}  {check.name}: {check.evidence}" for check in ordered)


def _mend(seen: Look, public: str) -> str:
    said = " ".join(check.evidence for check in seen.checks if not check.passed)
    if any(question.name == pods.NAME for question in seen.failed):
        return "the pods are not what was released: `inv plan` says what was changed, `inv deploy` puts the release back"
    if mend := seen.failed[0].mend:
        return mend
    if "another version answers" in said:
        return f"the pods are right, so {public} leads to something else: look for a second ingress rule with this host"
    if "status 404" in said or "status 502" in said or "status 503" in said:
        return f"the pods are ready, so look at the way to them: the ingress rule for {public}, its service and port, the path"
    return f"open {public} yourself, correct the application or the check, then run `inv verify`"
