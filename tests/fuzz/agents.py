"""A guest's agent that says what it is told to."""

import re
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path


class Agent:
    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hf")) / "agent"
        self._words = b""
        self._listener: socket.socket | None = None

    def say(self, words: bytes) -> None:
        """To whoever asks from now on. The number of the greeting stands for NUMBER."""
        self._words = words
        if self._listener is None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.path))
            self._listener.listen()
            threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            with client, suppress(OSError):
                number = re.search(rb'"id": ?(\d+)', client.recv(4096))
                client.sendall(self._words.replace(b"NUMBER", number[1] if number else b"0"))
