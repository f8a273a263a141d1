"""What a task does under `inv --dry`: one that only looks runs as ever, one that another shows lets that run; every other is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Body = TypeVar("Body", bound=Callable[..., Any])
MARK = "dry"  # the attribute of a task's body; what bears it is a task of ours


def only_looks(body: Body) -> Body:
    """Say that the task changes nothing."""
    setattr(body, MARK, ("", {}))
    return body


def shown_by(task: str, **options: Any) -> Callable[[Body], Body]:
    """Say that `task` of the same collection, given `options` too, shows what the marked one would do, and changes nothing."""

    def mark(body: Body) -> Body:
        setattr(body, MARK, (task, options))
        return body

    return mark


def acts(body: Body) -> Body:
    """Say that the task changes something and nothing shows what, unless it has said otherwise already."""
    setattr(body, MARK, getattr(body, MARK, None))
    return body


def is_ours(body: Callable[..., Any]) -> bool:
    """Whether the task is one of ours: others have Invoke's own meaning of its flags."""
    return hasattr(body, MARK)
