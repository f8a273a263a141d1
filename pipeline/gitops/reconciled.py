"""Waits until Flux has fetched and applied what lies in its repository, or shows what keeps it from that."""

from __future__ import annotations

from pipeline.errors import AuthError, ConfigError, Expired, PipelineError
from pipeline.events import What
from pipeline.gitops.place import STAGE, Place
from pipeline.stage import Site
from pipeline.tools import flux, flux_rules
from pipeline.tools.flux import Ref, State
from pipeline.tools.flux_words import Words, words
from pipeline.tools.gitops import Repository
from pipeline.tools.kube import Kube

RECONCILED = 120.0  # seconds until Flux has fetched and applied what is there, once it runs
SETTLED = 6.0  # seconds that a fault lasts before it is taken for one: a key may be known a moment later
TICK = 0.5


def reconciled(place: Place, site: Site, kube: Kube, commit: str, public: str, *, asked: bool) -> str:
    """Wait until Flux has applied `commit`, or a later one. Raises AuthError where the repository does not let it in, ConfigError where
    what lies there cannot be applied, Expired where nothing happens."""
    refs = (Ref("GitRepository", place.flux.system, place.flux.source), Ref("Kustomization", place.flux.system, place.flux.kustomization))
    repository = place.repository(site)
    begun, told, asked_of, since = site.clock.monotonic(), "", set[Ref](), dict[str, float]()
    while True:
        source, applier = (flux.read(kube, ref) for ref in refs)
        fetched, applied = (each is not None and _holds(repository, commit, each.commit) for each in (source, applier))
        if applier and applied and applier.settled:
            return applier.revision
        for ref in (refs[1],) if fetched else (refs[0],):  # the one whose turn it is, once: by itself it would look in its own interval
            if ref not in asked_of and flux.poke(kube, ref, f"{site.clock.now():.6f}"):
                asked_of.add(ref)
        now = site.clock.monotonic()
        turn = applier if fetched else source
        why = words(turn) if turn else None
        text = f"{why.what}: {why.cause.splitlines()[0] if why.cause else why.kind}" if why else _awaited(turn, fetched=fetched)
        if text != told:
            site.tell(What.WAIT, STAGE, told := text)
        if why and now - since.setdefault(why.what, now) > SETTLED and (not why.passing or _is_refused(why)):
            raise failure(why, public, asked=asked)
        if now - begun > RECONCILED:
            raise Expired(
                f"Flux has not applied {commit[:7]} after {RECONCILED:.0f} s", cause=text,
                mend=f"inv flux.status; do its controllers run? kubectl get pods -n {place.flux.system}; then run it again",
            )  # fmt: skip
        site.clock.sleep(TICK)


def _holds(repository: Repository, commit: str, there: str) -> bool:
    """Whether what Flux has holds `commit`: somebody may have pushed another one after it."""
    if there and repository.contains(there, there) is None:
        repository.look()
    return bool(repository.contains(commit, there))


def _awaited(state: State | None, *, fetched: bool) -> str:
    if state is None:
        return "Flux's objects are made"
    return f"{state.ref} is {'applied' if fetched else 'fetched'}{': ' + state.ready.message if state.ready.message else ''}"


def _is_refused(why: Words) -> bool:
    return flux_rules.meaning((flux_rules.REFUSED,), why.cause) is not None


def failure(why: Words, public: str, *, asked: bool) -> PipelineError:
    if why.kind == "fetch" and _is_refused(why):
        add = f"add this deploy key to it, then run again: {public}" if not asked else "run it again; is the key still there?"
        return AuthError("the repository does not let Flux in", cause=why.cause, mend=add)
    return ConfigError(why.what, cause=why.cause, mend=why.mend)
