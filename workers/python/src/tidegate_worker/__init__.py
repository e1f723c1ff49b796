"""Workers for Tidegate's processing queue.

A function that takes a `Job` and returns a `Result` becomes a worker by a decorator. Everything
else that the protocol asks of a worker is done here: claiming, leases and fences, progress,
cancelling within milliseconds, killing what does not listen, and draining.
"""

from .job import Cancelled, Failed, Job
from .protocol import Image
from .result import Polygon, Result
from .worker import Worker

__all__ = ["Cancelled", "Failed", "Image", "Job", "Polygon", "Result", "Worker"]
