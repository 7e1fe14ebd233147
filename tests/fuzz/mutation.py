"""Text and bytes, changed at random from a seed: the same seed makes the same cases on every machine.

Hypothesis, which other tests use, makes what a grammar allows and shrinks what fails. Here the point is what no
grammar allows, a hundred times as many a second: pieces of good inputs cut, doubled, swapped and made too large.
"""

import random
from collections.abc import Callable, Iterator, Sequence

EXTREMES = (
    b"", b"\0", b"\n", b"\r", b"\t", b" ", b",", b",,", b"=", b":", b"/", b"//", b"..", b"-", b"--", b"'", b'"', b"\\", b"{", b"}",
    b"[", b"]", b"{{", b"}}", b"{%", b"%", b"#", b"&a ", b"*a", b"<<: *a", b"!!python/name:os.system", b"\xff", b"\xfe\xff", b"\x80",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u202e\u2028\u0664\U0001f600".encode(), b"\x1b]0;a\x07", b"0", b"-1", b"1e9", b"1_0", b"0x10",
    b"9" * 20, b"9" * 400, str(2**63).encode(), str(2**64).encode(), b"NaN", b"Infinity", b"1e999", b"null", b"true", b"[]", b"{}",
    b'""', b"[" * 3000, b'{"a":' * 3000, b"a" * 5000, b"file:", b"json:{", b"$(id)", b"-device", b"help", b"on", b"off", b"none",
)  # fmt: skip

# Whole, as no cut of a good input is: what parses, and then goes deeper than the next reader's stack.
NESTED = tuple(
    opening * depth + b"1" + closing * depth
    for depth in (30, 300, 480, 600, 900, 980)
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'{"a":[', b"]}"))
)

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _place(chance: random.Random, data: bytes) -> tuple[int, int]:
    first = chance.randint(0, len(data))
    return first, min(len(data), first + chance.choice((1, 2, 4, 16, 64)))


def _insert(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    first, _ = _place(chance, data)
    return data[:first] + chance.choice(words) + data[first:]


def _replace(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    first, last = _place(chance, data)
    return data[:first] + chance.choice(words) + data[last:]


def _delete(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    first, last = _place(chance, data)
    return data[:first] + data[last:]


def _double(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    first, last = _place(chance, data)
    return data[:last] + data[first:last] * chance.choice((1, 2, 8, 64)) + data[last:]


def _flip(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _swap(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    first, last = _place(chance, data)
    return data[last:] + data[first:last] + data[:first]


def _cut(chance: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    return data[: chance.randint(0, len(data))]


CHANGES: tuple[Change, ...] = (
    _insert,
    _insert,
    _replace,
    _replace,
    _delete,
    _double,
    _flip,
    _swap,
    _cut,
)
LONGEST = 64 * 1024


def mutations(seed: int, corpus: Sequence[bytes], words: Sequence[bytes]) -> Iterator[bytes]:
    """Without end: first what is in the corpus, as it is, then one to six changes of it."""
    yield from corpus
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    known = (*EXTREMES, *NESTED, *words)
    while True:
        data = chance.choice(corpus)
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            data = chance.choice(CHANGES)(chance, data, known)[:LONGEST]
        yield data
