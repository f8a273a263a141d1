"""How many requests a registry still takes: Docker Hub's headers, told before they run out.

Source: https://docs.docker.com/docker-hub/usage/pulls/ (`ratelimit-limit: 100;w=21600`; a HEAD does not count).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import RateLimited

VALUE = re.compile(r"\s*([0-9]{1,9})\s*(?:;\s*w=([0-9]{1,9}))?\s*")
LOW = 10  # a rest that is told


@dataclass(frozen=True)
class Quota:
    """`remaining` of `limit` pulls in any `window` seconds (0: not said); `source` is who is counted: an address or an account."""

    limit: int
    remaining: int
    window: int = 0
    source: str = ""

    @property
    def low(self) -> bool:
        return self.remaining <= min(LOW, self.limit // 2)

    def __str__(self) -> str:
        within = f" in {self.window / 3600:g} h" if self.window else ""
        return f"{self.remaining} of {self.limit} pulls left{within}{f', counted for {self.source}' if self.source else ''}"


def spent(left: Quota | None, peer: str, cause: str, wait: float | None) -> RateLimited:
    """The error of a 429 that a limit on pulls gives: `wait` seconds as the registry said, else the time in which one pull comes back, as
    far as the window tells (None: unknown, so a minute)."""
    again = left.window / left.limit if left and left.window and left.limit else 60.0
    known = f": {left}" if left else ""
    return RateLimited(
        f"{peer} gives no more pulls for now{known}",
        retry_after=again if wait is None else wait,
        cause=cause,
        mend="log in with an account that has more of them (docker login, or username and password in the site file), or wait",
    )


def read(headers: Mapping[str, str]) -> Quota | None:
    """The quota that an answer's headers (lower-case names) tell, None where they tell none."""
    limit, left = (VALUE.fullmatch(headers.get(f"ratelimit-{name}", "")) for name in ("limit", "remaining"))
    if not limit or not left:
        return None
    source = headers.get("docker-ratelimit-source", "")
    return Quota(int(limit[1]), int(left[1]), int(limit[2] or 0), source if re.fullmatch(r"[0-9A-Za-z.:-]{1,64}", source) else "")
