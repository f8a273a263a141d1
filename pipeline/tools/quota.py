"""How many requests a registry still takes: Docker Hub's headers, told before they run out.

Source: https://docs.docker.com/docker-hub/usage/pulls/ (`ratelimit-limit: 100;w=21600`; a HEAD does not count).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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


def read(headers: Mapping[str, str]) -> Quota | None:
    """The quota that an answer's headers (lower-case names) tell, None where they tell none."""
    limit, left = (VALUE.fullmatch(headers.get(f"ratelimit-{name}", "")) for name in ("limit", "remaining"))
    if not limit or not left:
        return None
    source = headers.get("docker-ratelimit-source", "")
    return Quota(int(limit[1]), int(left[1]), int(limit[2] or 0), source if re.fullmatch(r"[0-9A-Za-z.:-]{1,64}", source) else "")
