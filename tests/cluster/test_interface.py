"""Which network the ranks of several nodes talk over."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.links import namespaces
from tests.cluster.lab import ROOT

RANK = """
import sys
from pathlib import Path
from cloudseg.core import attempt
from cloudseg.training import comm
ranks = comm.start(attempt.current(Path(sys.argv[1])))
print(ranks.gather(ranks.rank))
ranks.barrier()
"""


def test_ranks_meet_over_a_named_interface_though_their_hosts_name_leads_to_none(tmp_path):
    """As on nodes whose own name is 127.0.1.1 in /etc/hosts, or an address of another network."""
    with namespaces.nodes(2) as hosts:
        ranks = [
            subprocess.Popen(
                [*namespaces.inside(host), sys.executable, "-c", RANK, str(tmp_path)],
                cwd=ROOT,
                env={
                    **os.environ,
                    "CLOUDSEG_ATTEMPT": "meeting",
                    "CLOUDSEG_INTERFACE": namespaces.INTERFACE,
                    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
                    "SLURM_PROCID": str(rank),
                    "SLURM_LOCALID": "0",
                    "SLURM_NODEID": str(rank),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, host in enumerate(hosts)
        ]
        try:
            said = [rank.communicate(timeout=300) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
    assert [out.splitlines()[-1:] for out, _ in said] == [["[0, 1]"]] * 2, said
