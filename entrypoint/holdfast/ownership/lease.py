"""The times of a lease, in seconds. All of them count from *before* the request was sent.

They are measured on CLOCK_BOOTTIME, which goes on while the machine is suspended.
"""

from holdfast.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class LeaseTimes:
    """What follows from the TTL that etcd granted, which may be more than was asked for.

    `renew`: between two renewals. `request`: the most that one endpoint gets to answer; all of
    them in turn stay within 0.35 TTL. `deadline`: without a good renewal for so long, ownership is
    in doubt; it lies before the lease's end, so that a VM that must stop has stopped by then.
    `last_resort`: where only time guards, another process has killed it by now.
    """

    ttl: float
    renew: float
    request: float
    deadline: float
    last_resort: float

    @classmethod
    def of(cls, ttl: float, endpoints: int) -> "LeaseTimes":
        """The times for a lease of `ttl` seconds renewed through so many endpoints.

        >>> LeaseTimes.of(10, 3)
        LeaseTimes(ttl=10, renew=2.0, request=1.0, deadline=6.0, last_resort=7.0)
        """
        times = cls(
            ttl=ttl,
            renew=ttl / 5,
            request=min(ttl / 10, 0.35 * ttl / endpoints),
            deadline=0.6 * ttl,
            last_resort=0.7 * ttl,
        )
        # One renewal may fail on every endpoint, and the next one still ends before the deadline.
        if times.renew + times.request * endpoints >= times.deadline:
            raise ValueError(f"a lease of {ttl} s leaves no time for {endpoints} endpoints")
        return times
