"""QEMU's monitor as part of the supervisor's loop: commands that never wait, and events."""

from collections.abc import Callable
from typing import Any

from holdfast import log
from holdfast.errors import InternalError, legible
from holdfast.qmp.client import Disconnected, Message, Qmp
from holdfast.qmp.trouble import Repeats
from holdfast.runtime.events import Events

LONGEST = 1000  # characters of QEMU's reason for a refusal
Told = Callable[[str, Message], None]


class Monitor:
    """`told` gets the name and the data of each event."""

    def __init__(self, qmp: Qmp, events: Events, told: Told) -> None:
        self._qmp = qmp
        self._events = events
        self._told = told
        self._asked: dict[object, Callable[[Any], None]] = {}
        self._refusals = Repeats()

    def watch(self) -> None:
        self._events.watch(self._qmp.fileno(), self.hear)

    def command(self, command: str) -> None:
        try:
            self._qmp.send(command)
        except InternalError as error:
            log.warning(error.message)

    def ask(self, command: str, then: Callable[[Any], None], **arguments: object) -> None:
        """Give `then` the answer, None for a refusal; nothing where QEMU does not answer."""
        try:
            self._asked[self._qmp.send(command, **arguments)] = then
        except InternalError as error:
            log.debug(error.message)

    def hear(self) -> None:
        try:
            messages = self._qmp.read()
        except Disconnected as error:
            log.debug(error.message)
            self.forget()
            return
        for message in messages:
            self._heard(message)

    def _heard(self, message: Message) -> None:
        event, data = message.get("event", ""), message.get("data", {})
        if event:
            log.debug(f"QEMU event {event} {data}")
            self._told(event, data)
        elif (number := message.get("id")) and isinstance(number, int) and number in self._asked:
            self._asked.pop(number)(message.get("return"))
        elif "error" in message:
            refusal = f"QEMU: {legible(str(message['error'].get('desc')), LONGEST)}"
            if said := self._refusals.heard(refusal):
                log.warning(said)

    def forget(self) -> None:
        self._events.forget(self._qmp.fileno())
