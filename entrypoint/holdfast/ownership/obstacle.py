"""Why a VM is not for this host now: no fault, but a reason to wait."""

LOOK_AGAIN = 60.0  # a watch that is dead without an error must not keep a standby waiting for ever


class Obstacle(Exception):
    """Why the VM is not for us now, and after how many seconds to look again at the latest. `lock_wait`: the time
    counts as waiting for the VM.
    """

    def __init__(self, why: str, seconds: float = LOOK_AGAIN, *, lock_wait: bool = True) -> None:
        super().__init__(why)
        self.seconds = seconds
        self.lock_wait = lock_wait
