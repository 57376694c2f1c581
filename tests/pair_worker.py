"""One of two processes that train together: a step's gradients, then a short run."""

import sys
from pathlib import Path

import torch
from pair_runs import SMALL, measure_gradients, small_job

from darkroom.training.pairs.distributed import join_processes
from darkroom.training.pairs.trainer import train_pairs

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with join_processes("cpu") as processes:
        job = small_job(SMALL, processes)
        torch.save(measure_gradients(job), folder / f"gradients-{processes.rank}.pt")
        seen = [progress.loss for progress in train_pairs(job, folder / f"run-{processes.rank}")]
        (folder / f"losses-{processes.rank}.txt").write_text(repr(seen))
