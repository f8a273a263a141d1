"""The actions a workflow uses, each by the commit that its release is: a tag can be moved, a commit cannot."""

from __future__ import annotations

PINS = {
    "actions/checkout": ("df4cb1c069e1874edd31b4311f1884172cec0e10", "v6.0.3"),
    "docker/login-action": ("650006c6eb7dba73a995cc03b0b2d7f5ca915bee", "v4.2.0"),
    "docker/setup-qemu-action": ("06116385d9baf250c9f4dcb4858b16962ea869c3", "v4.1.0"),
    "docker/setup-buildx-action": ("d7f5e7f509e45cec5c76c4d5afdd7de93d0b3df5", "v4.1.0"),
    "docker/metadata-action": ("80c7e94dd9b9319bd5eb7a0e0fe9291e23a2a2e9", "v6.1.0"),
    "docker/build-push-action": ("f9f3042f7e2789586610d6e8b85c8f03e5195baf", "v7.2.0"),
}


def pinned(action: str) -> str:
    """`action@commit # version`, as it stands behind `uses:`."""
    commit, version = PINS[action]
    return f"{action}@{commit} # {version}"
