"""Denoise files: which, to where, one at a time, and a record of provenance beside each result."""

from lowdose.batch.choices import Engine, NoiseChoice, Options
from lowdose.batch.places import Input, Job, find_inputs, plan_jobs
from lowdose.batch.run import Batch, Outcome

__all__ = [
    "Batch",
    "Engine",
    "Input",
    "Job",
    "NoiseChoice",
    "Options",
    "Outcome",
    "find_inputs",
    "plan_jobs",
]
