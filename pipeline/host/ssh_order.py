"""The order of what is sent to a session: nothing comes after its end."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator
from typing import cast

import paramiko

EOF, CLOSE = 96, 97  # kinds of messages in RFC 4254


class Ordered(paramiko.Transport):
    """A connection that sends the end of a channel only after all that is being said to it.

    paramiko looks whether a channel is open, and sends afterwards. If another of its threads answers the channel's end in between, what is
    sent then is for a channel that does not exist any more, and sshd ends the whole connection, with every command on it. To keep the
    sender's lock for as long is no way: paramiko's own thread would wait for it while the keys are exchanged anew.
    """

    def __init__(self, *words: object, **options: object) -> None:
        super().__init__(*words, **options)  # type: ignore[arg-type]
        self._turn = threading.Lock()
        self._speakers: dict[int, list[paramiko.Channel]] = collections.defaultdict(list)
        self._held: dict[int, list[paramiko.Message]] = collections.defaultdict(list)

    @contextlib.contextmanager
    def speaking(self, channel: paramiko.Channel) -> Iterator[None]:
        """Hold the end of `channel` back meanwhile."""
        number = channel.remote_chanid
        with self._turn:
            self._speakers[number].append(channel)
        try:
            yield
        finally:
            with self._turn:
                self._speakers[number].remove(channel)
                held = self._held.pop(number, []) if not self._speakers[number] else []
            for message in held:
                super()._send_user_message(message)  # type: ignore[misc]

    def _send_user_message(self, message: paramiko.Message) -> None:
        """Send a message, or hold it back for now. Every message to a channel comes by here."""
        data = message.asbytes()
        if data[0] in (EOF, CLOSE):
            number = int.from_bytes(data[1:5], "big")
            with self._turn:
                # an end of the input by itself has to pass: the command that does not read may be told to end with it
                if any(data[0] == CLOSE or channel.closed for channel in self._speakers[number]):
                    self._held[number].append(message)
                    return
        super()._send_user_message(message)  # type: ignore[misc]


def speaking(channel: paramiko.Channel) -> contextlib.AbstractContextManager[None]:
    """Hold the end of `channel` back while something is sent to it."""
    return cast(Ordered, channel.get_transport()).speaking(channel)
