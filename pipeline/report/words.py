"""How artifacts, digests and durations are written for a person: short, and always in the same words."""

from __future__ import annotations

from pipeline.artifacts import Artifact, Bundle, Image, Images, Infra, Release, Report, Source, Tree


def told(artifact: Artifact) -> str:
    """The artifact in a few words: what tells it from the one before it, and where it is."""
    match artifact:
        case Source():
            return artifact.label
        case Tree():
            return f"{artifact.source.label} on {artifact.host}"
        case Bundle():
            size = f", {volume(artifact.size)}" if artifact.size else ""
            return f"image {digest(artifact.config)}{size} on {artifact.host}"
        case Image():
            return f"{digest(artifact.digest)} in {artifact.repository}"
        case Images():
            return ", ".join(told(image) for image in artifact.images)
        case Release():
            return f"revision {artifact.revision} of {artifact.name} in {artifact.namespace}"
        case Report():
            passed = sum(check.passed for check in artifact.checks)
            where = f" at {artifact.url}" if artifact.url else ""
            return f"{passed} of {len(artifact.checks)} checks hold{where}"
        case Infra():
            return f"{artifact.resources} resources of {artifact.name}, state {artifact.serial}"
    return artifact.id


def digest(value: str) -> str:
    """The algorithm and the first twelve digits."""
    algorithm, colon, digits = value.partition(":")
    return f"{algorithm}:{digits[:12]}" if colon else value[:12]


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.8 s, 42 s, 2 min 05 s, 1 h 03 min."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def volume(size: int) -> str:
    """Bytes as kB, MB or GB of a thousand."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            amount = size / scale
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    return f"{size} B"
