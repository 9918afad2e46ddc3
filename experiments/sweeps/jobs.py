"""The job of a queue that a process works in, and whether the queue took its node away.

Only SLURM tells; elsewhere every end of a process counts.
"""

import os
import subprocess

LOST = ("BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "REVOKED")
"""States of jobs that ended through no fault of theirs."""


def own_job() -> list[str] | None:
    """The number of this process's job and how often it was begun anew; None: it is in none."""
    number = os.environ.get("SLURM_JOB_ID")
    return None if number is None else [number, os.environ.get("SLURM_RESTART_COUNT", "0")]


def lost_with_its_node(job: list[str] | None) -> bool:
    """Whether the node of a job failed or was given to another; False where nobody tells.

    A job that was queued once more goes on under its number.
    """
    if job is None:
        return False
    number, restarts = job
    try:
        asked = subprocess.run(
            ["scontrol", "show", "job", "--oneliner", number],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = dict(part.partition("=")[::2] for part in asked.stdout.split())
    return said.get("JobState") in LOST or int(said.get("Restarts") or 0) > int(restarts)
