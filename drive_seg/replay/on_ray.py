"""Bags on a Ray cluster: the same per-bag function, handed out by an engine that survives lost workers.

Bags and results lie on storage that every machine sees under the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drive_seg.replay.job import Job, Outcome, run_job
from drive_seg.replay.settings import ReplayError

LOCAL = "local"
RETRIES = 3
"""How often a bag is begun again when its worker or its machine is lost."""


def run_on_ray(jobs: Sequence[Job], address: str, done: Callable[[Outcome], None], cpus: int = 1) -> list[Outcome]:
    """Replay bags as Ray tasks; `done` hears of each as it ends.

    address: of a cluster, `auto` for the one that this machine belongs to, or LOCAL to start one here. cpus: of each
    task. Raises ReplayError when Ray is missing or can't be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise ReplayError(f"Ray is not installed ({error})", "pip install 'drive-seg[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=None if address == LOCAL else address, log_to_driver=False, logging_level="warning",
                     include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ReplayError(f"no Ray cluster at {address}: {error}") from error
    try:
        task = ray.remote(max_retries=RETRIES, num_cpus=cpus)(run_job)
        waiting = {task.remote(job.absolute(), cores=cpus): index for index, job in enumerate(jobs)}
        outcomes: list[Outcome | None] = [None] * len(jobs)
        while waiting:
            (reference,), _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(reference)
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1]
                outcome = Outcome(jobs[index].bag, jobs[index].folder,
                                  f"its worker was lost {RETRIES + 1} times or failed: {reason}")
            outcomes[index] = outcome
            done(outcome)
        return [outcome for outcome in outcomes if outcome is not None]
    finally:
        if ours:
            ray.shutdown()
