"""Fakes for tests, shipped so that drivers written elsewhere can use them."""

from __future__ import annotations

from pipeline.testing.clock import FakeClock
from pipeline.testing.host import Answer, FakeHost
from pipeline.testing.proxy import FaultProxy

__all__ = ["Answer", "FakeClock", "FakeHost", "FaultProxy"]
