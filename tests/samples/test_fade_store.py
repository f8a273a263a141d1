"""What a node of Fade keeps: versions, times to live, bounds, and that a merge comes to the same in any order."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lab.samples.fade import wire
from pipeline.lab.samples.fade.store import BUCKETS, Entry, Full, Store, Taken, Version


class Time:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


def store(time: Time, origin: str = "n0.00000000", entries: int = 100, space: int = 1 << 20) -> Store:
    return Store(origin, entries, space, time)


def send(here: Store, there: Store, time: Time) -> None:
    """All that one store remembers, as the other one gets it."""
    every = [entry for number in range(BUCKETS) for entry in here.bucket(number)]
    while every:
        message, taken = wire.packed(every, time())
        for entry in wire.unpacked(json.loads(json.dumps(message)), time()):
            there.merge(entry)
        every = every[taken:]


def value(kept: Store, key: str) -> bytes | None:
    found = kept.get(key)
    return found.value if found else None


def test_a_value_fades_when_its_time_is_over(time: Time) -> None:
    kept = store(time)
    kept.put("a", b"x", 10)
    time.at += 9.9
    assert value(kept, "a") == b"x"
    time.at += 0.1
    assert value(kept, "a") is None
    assert kept.live() == []
    assert kept.counts() == (0, 0)
    assert kept.digest() == [0] * BUCKETS


def test_the_later_write_wins_whoever_hears_of_it_first(time: Time) -> None:
    one, two = store(time, "n1.00000000"), store(time, "n2.00000000")
    one.put("a", b"first", 60)
    send(one, two, time)
    two.put("a", b"second", 60)
    send(one, two, time)
    send(two, one, time)
    assert value(one, "a") == value(two, "a") == b"second"
    assert one.digest() == two.digest() != [0] * BUCKETS


def test_two_writes_that_did_not_know_of_each_other_come_to_one_on_both_sides(time: Time) -> None:
    one, two = store(time, "n1.00000000"), store(time, "n2.00000000")
    one.put("a", b"here", 60)
    two.put("a", b"there", 60)
    send(one, two, time)
    send(two, one, time)
    assert value(one, "a") == value(two, "a") == b"there"


def test_the_same_entry_once_more_is_no_news(time: Time) -> None:
    kept = store(time)
    entry = Entry("a", b"x", Version(7, "n9.00000000"), 60, time() + 60, time() + 60)
    assert kept.merge(entry)
    before = kept.digest()
    assert not kept.merge(entry)
    assert not kept.merge(replace(entry, until=time() + 999, forget=time() + 999)), "and it lives no longer for that"
    assert kept.digest() == before
    time.at += 60
    assert value(kept, "a") is None


def test_a_node_counts_on_from_what_it_has_seen(time: Time) -> None:
    kept = store(time)
    kept.merge(Entry("b", b"x", Version(41, "n9.00000000"), 60, time() + 60, time() + 60))
    assert kept.put("a", b"x", 60).version == Version(42, "n0.00000000")


def test_what_was_deleted_does_not_come_back_from_one_who_missed_it(time: Time) -> None:
    one, two = store(time, "n1.00000000"), store(time, "n2.00000000")
    one.put("a", b"x", 60)
    send(one, two, time)
    assert one.delete("a")
    assert one.delete("a") is None
    time.at += 59
    send(two, one, time)
    assert value(one, "a") is None
    send(one, two, time)
    assert value(two, "a") is None
    time.at += 1
    assert one.counts() == two.counts() == (0, 0), "and is forgotten when no older one is left"


def test_a_shorter_life_in_place_of_a_longer_one_is_not_undone(time: Time) -> None:
    one, two = store(time, "n1.00000000"), store(time, "n2.00000000")
    one.put("a", b"long", 3600)
    send(one, two, time)
    one.put("a", b"short", 10)
    time.at += 20
    assert value(one, "a") is None
    send(two, one, time)
    assert value(one, "a") is None
    send(one, two, time)
    assert value(two, "a") is None, "the short one's version is still known, without its value"


def test_the_memory_of_an_older_longer_entry_is_kept_where_only_the_newer_one_was_known(time: Time) -> None:
    kept = store(time)
    kept.merge(Entry("a", b"new", Version(9, "n9.00000000"), 10, time() + 10, time() + 10))
    kept.merge(Entry("a", b"old", Version(1, "n9.00000000"), 3600, time() + 3600, time() + 3600))
    time.at += 20
    kept.merge(Entry("a", b"old", Version(1, "n9.00000000"), 3600, time() + 3580, time() + 3580))
    assert value(kept, "a") is None


def test_an_entry_that_faded_on_its_way_is_not_taken(time: Time) -> None:
    kept = store(time)
    assert not kept.merge(Entry("a", b"x", Version(1, "n9.00000000"), 1, time() - 1, time() - 1))
    assert kept.merge(Entry("b", b"x", Version(2, "n9.00000000"), 1, time() - 1, time() + 50)), (
        "but what it replaced is still to be kept away"
    )
    assert value(kept, "b") is None
    assert kept.counts()[0] == 0


def test_the_same_new_entry_twice_is_one_and_another_of_its_key_is_told(time: Time) -> None:
    kept = store(time)
    first = kept.put("a", b"x", 60, new=True)
    assert kept.put("a", b"x", 60, new=True) == first
    with pytest.raises(Taken):
        kept.put("a", b"y", 60, new=True)
    assert value(kept, "a") == b"x"
    time.at += 60
    assert kept.put("a", b"y", 60, new=True).value == b"y"


def test_there_is_an_end_to_what_is_kept(time: Time) -> None:
    kept = store(time, entries=2, space=10_000)
    kept.put("a", b"x", 60)
    kept.put("b", b"x", 10)
    with pytest.raises(Full):
        kept.put("c", b"x", 60)
    kept.put("a", b"y", 60)
    with pytest.raises(Full):
        kept.put("a", b"y" * 10_000, 60)
    assert value(kept, "a") == b"y", "what is there stays"
    with pytest.raises(Full):
        kept.merge(Entry("c", b"x", Version(9, "n9.00000000"), 60, time() + 60, time() + 60))
    time.at += 10
    kept.put("c", b"x", 60)
    assert [entry.key for entry in kept.live()] == ["c", "a"]


def test_the_bytes_that_are_counted_are_those_that_are_kept(time: Time) -> None:
    kept = store(time)
    for number in range(50):
        kept.put(f"k{number % 10}", b"x" * number, 5 + number)
    kept.delete("k3")
    kept.put("k9", b"x", 1)
    time.at += 48
    kept.put("z", b"z", 60)
    time.at += 1
    keys, size = kept.counts()
    found = [entry for number in range(BUCKETS) for entry in kept.bucket(number)]
    assert 0 < keys < len(found) < 11, "some have faded, and some of those are still remembered"
    assert size == sum(entry.size for entry in found)


def test_a_version_is_remembered_on_every_node_for_as_long_as_on_the_one_that_has_to(time: Time) -> None:
    one, two, three = (store(time, f"n{number}.00000000") for number in range(3))
    one.put("a", b"x", 1)
    one.delete("a")
    send(one, two, time)
    time.at += 1
    three.put("a", b"older, and longer", 1)
    for here, there in ((three, one), (one, two), (one, three)):
        send(here, there, time)
    assert [value(each, "a") for each in (one, two, three)] == [None] * 3
    assert one.digest() == two.digest() == three.digest() != [0] * BUCKETS


operations = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from("abc"), st.one_of(st.none(), st.binary(max_size=3)), st.integers(1, 30), st.integers(0, 5)
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(operations, st.permutations(range(6)))
def test_three_nodes_agree_whatever_was_written_where_and_in_whatever_order_they_meet(made: list[Any], order: list[int]) -> None:
    time = Time()
    nodes = [store(time, f"n{number}.00000000") for number in range(3)]
    for where, key, given_value, ttl, pause in made:
        time.at += pause
        if given_value is None:
            nodes[where].delete(key)
        else:
            nodes[where].put(key, given_value, ttl)
        if ttl % 3 == 0:
            send(nodes[where], nodes[(where + 1) % 3], time)
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    for _ in range(2):
        for number in order:
            send(nodes[pairs[number][0]], nodes[pairs[number][1]], time)
    seen = [[(entry.key, entry.value, entry.version) for entry in node.live()] for node in nodes]
    assert seen[0] == seen[1] == seen[2]
    assert nodes[0].digest() == nodes[1].digest() == nodes[2].digest()


fields = st.sampled_from(["key", "version", "value", "ttl", "left", "known"])
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(fields, inner)),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_what_no_node_sends_is_malformed_and_nothing_worse(message: Any) -> None:
    for read in (lambda each: wire.unpacked(each, 0.0), wire.known, wire.keys):
        with contextlib.suppress(wire.Malformed):
            read(message)


GOOD: dict[str, Any] = {"key": "a", "version": "1.n0.00000000", "value": "eA==", "ttl": 5, "left": 5, "known": 5}


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "../a"}, {"key": ""}, {"version": "1"}, {"version": "-1.n0.00000000"}, {"version": f"{10**16}.n0.00000000"},
        {"value": "%"}, {"value": 7}, {"value": "eA==" * (wire.VALUE // 2)}, {"ttl": 0}, {"ttl": True}, {"ttl": 10**9},
        {"left": float("nan")}, {"left": 10**400},
        {"known": None}, {"known": True},
    ],
)  # fmt: skip
def test_an_entry_is_checked_before_it_is_believed(wrong: dict[str, Any]) -> None:
    assert wire.unpacked([GOOD], 100.0) == [Entry("a", b"x", Version(1, "n0.00000000"), 5, 105.0, 105.0)]
    with pytest.raises(wire.Malformed):
        wire.unpacked([{**GOOD, **wrong}], 100.0)


def test_a_message_has_an_end_and_nothing_is_left_out_of_the_next(time: Time) -> None:
    kept = store(time, entries=1000, space=1 << 24)
    for number in range(100):
        kept.put(f"k{number}", b"x" * 50_000, 60)
    other = store(time, "n1.00000000", entries=1000, space=1 << 24)
    message, taken = wire.packed([entry for number in range(BUCKETS) for entry in kept.bucket(number)], time())
    assert 0 < taken < 100
    assert len(json.dumps(message)) < wire.MESSAGE
    send(kept, other, time)
    assert other.digest() == kept.digest()
