"""How long to wait before trying again."""

import random


class Backoff:
    """Doubling delays in seconds. Each is shortened by up to a half at random, so that workers
    which lost the same server do not return to it in step."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._most_s)
        return delay_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_s = self._first_s
