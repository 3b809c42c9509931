"""Does to a chain on the test cluster what a schedule says."""

from __future__ import annotations

import signal
import time

from tests.cluster.chain import Chain, ask, crash, cut, full_disk, node_is_down, preempt, revive, slurm
from tests.cluster.chaos.schedule import Fault

FULL_S = 6.0
"""How long the disk stays full."""


def strike(chain: Chain, fault: Fault) -> bool:
    """Wait for the fault's moment and do it; False if the stage was over before."""
    job = chain.ids[fault.stage]
    chain.until(lambda: _over(chain, fault) or _running(job))
    chain.until(lambda: _over(chain, fault) or chain.steps(fault.stage) >= fault.after_step)
    if _over(chain, fault):
        return False
    node = f"node{fault.rank + 1}"
    match fault.kind:
        case "kill rank":
            chain.kill(fault.rank)
        case "stop rank":
            chain.kill(fault.rank, signal.SIGSTOP)
        case "crash node" | "cut network":
            (crash if fault.kind == "crash node" else cut)(node)
            chain.until(lambda: node_is_down(node))
            revive(node)
        case "signal":
            slurm("scancel", "--signal=USR2", job)
        case "cancel step":
            chain.heartbeat(0)
            slurm("scancel", f"{job}.0")
        case "preempt":
            preempt()
        case "kill while saving":
            chain.kill_while_saving(fault.stage)
        case "damage checkpoint":
            chain.kill(0, signal.SIGSTOP)
            chain.damage_newest(fault.stage)
            chain.kill(0)
        case "fill disk":
            with full_disk(chain.path.parent):
                time.sleep(FULL_S)
    return True


def _over(chain: Chain, fault: Fault) -> bool:
    if list(chain.path.glob(f"?-{fault.stage}/DONE.json")):
        return True
    state = ask("squeue", "--noheader", f"--job={chain.ids[fault.stage]}", "--states=all", "--format=%T")
    return state in ("FAILED", "CANCELLED", "TIMEOUT")


def _running(job: str) -> bool:
    return ask("squeue", "--noheader", f"--job={job}", "--states=all", "--format=%T") == "RUNNING"
