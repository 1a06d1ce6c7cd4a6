"""Tasks of embeddings and the like: whose turn it is."""

from types import SimpleNamespace

from mlxk_core._generation.task_queue import TaskQueue


def test_a_small_job_waits_for_two_tasks_of_large_ones():
    queue = TaskQueue()
    large = [SimpleNamespace(task_seconds=5.0 + number) for number in range(16)]
    for job in large:
        queue.add(job, print)
    first = queue.next(rows_wait=False)
    small = SimpleNamespace(task_seconds=0.0)
    queue.add(small, print)
    assert small in [queue.next(rows_wait=False)[0] for _ in range(2)]
    assert first[0] in large


def test_small_jobs_without_end_do_not_keep_large_ones_out():
    queue = TaskQueue()
    large = SimpleNamespace(task_seconds=5.0)
    for _ in range(4):
        queue.add(SimpleNamespace(task_seconds=0.0), print)
    queue.add(large, print)
    served = []
    while large not in served:
        served.append(queue.next(rows_wait=False)[0])
        queue.add(SimpleNamespace(task_seconds=0.0), print)
    assert len(served) <= 10


def test_the_time_of_a_task_counts_for_its_job():
    queue, job = TaskQueue(), SimpleNamespace(task_seconds=0.0)
    with queue.measure(job):
        sum(range(1000))
    assert job.task_seconds > 0
