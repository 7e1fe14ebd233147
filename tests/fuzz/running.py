"""Some executions of a target, and what came of them that should not have."""

import time
from dataclasses import dataclass, field
from itertools import islice

from fuzz.inputs import OURS
from fuzz.mutation import mutations
from fuzz.targets import Target

from holdfast import log

SLOW = 5.0  # seconds of the CPU for one input of at most 64 KiB


@dataclass(kw_only=True)
class Outcome:
    executions: int = 0
    refused: int = 0
    finds: dict[str, bytes] = field(default_factory=dict)  # by kind: the first input of each


def run(target: Target, *, seed: int, executions: int) -> Outcome:
    outcome = Outcome()
    log.configure(level="error", as_json=False)
    for data in islice(mutations(seed, target.corpus, target.words), executions):
        outcome.executions += 1
        began = time.process_time()
        try:
            target.run(data)
        except (*OURS, UnicodeError):  # bytes that are no text are refused before they come here
            outcome.refused += 1
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            outcome.finds.setdefault(_kind(error), data)
        if time.process_time() - began > SLOW:
            outcome.finds.setdefault("slow", data)
    return outcome


def _kind(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {where}"
