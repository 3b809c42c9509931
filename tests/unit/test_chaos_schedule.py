from __future__ import annotations

from tests.cluster.chaos.schedule import AT_ANY_TIME, ONCE_TRAINING, schedule

SCHEDULES = [schedule(seed) for seed in range(200)]


def test_a_seed_is_replayed_exactly():
    assert [schedule(seed) for seed in range(200)] == SCHEDULES


def test_every_kind_of_fault_comes_up():
    kinds = {fault.kind for plan in SCHEDULES for fault in plan.faults}
    assert kinds == {*AT_ANY_TIME, *ONCE_TRAINING, "preempt"}


def test_between_two_faults_of_a_stage_there_is_progress():
    for plan in SCHEDULES:
        moments = [(fault.stage, fault.after_step) for fault in plan.faults]
        assert len(set(moments)) == len(moments)


def test_jobs_are_preempted_only_where_they_can_be():
    assert all(plan.partition != "gpu" for plan in SCHEDULES if any(fault.kind == "preempt" for fault in plan.faults))
