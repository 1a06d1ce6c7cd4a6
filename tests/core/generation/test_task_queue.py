"""Tasks of embeddings and the like: whose turn it is."""

from types import SimpleNamespace

from mlxk_core._generation.task_queue import TaskQueue


def test_a_small_job_waits_for_two_tasks_of_large_ones():
    queue = TaskQueue(lambda job, work: True)
    large = [SimpleNamespace(task_seconds=5.0 + number) for number in range(16)]
    for job in large:
        queue.add(job, print)
    first = queue.next(rows_wait=False)
    small = SimpleNamespace(task_seconds=0.0)
    queue.add(small, print)
    assert small in [queue.next(rows_wait=False)[0] for _ in range(2)]
    assert first[0] in large


def test_small_jobs_without_end_do_not_keep_large_ones_out():
    queue = TaskQueue(lambda job, work: True)
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
    queue, job = TaskQueue(lambda job, work: True), SimpleNamespace(task_seconds=0.0)
    with queue.measure(job):
        sum(range(1000))
    assert job.task_seconds > 0


class _Parts:
    """A work of two parts."""

    def __init__(self):
        self.begun = self.done = False

    def memory(self, engine, /):
        return 1

    def __call__(self, engine, /):
        self.begun, self.done = True, self.begun


def test_no_work_begins_before_the_oldest_has_room_and_those_that_have_begun_go_on():
    room = set()
    queue = TaskQueue(lambda job, work: job.id in room)
    jobs = [SimpleNamespace(id=number, task_seconds=1.0 - number, ended=False) for number in range(3)]
    works = [_Parts() for _ in jobs]
    for job, work in zip(jobs, works, strict=True):
        queue.add(job, work)
    works[2](None)
    room.add(1)
    assert queue.next(rows_wait=False) == (jobs[2], works[2])
    assert queue.next(rows_wait=False) is None
    room.add(0)
    queue.look_again()
    assert {queue.next(rows_wait=False)[0].id for _ in range(2)} == {0, 1}
    assert not queue


def test_a_work_that_has_waited_is_not_passed_when_there_is_room():
    room = set()
    queue = TaskQueue(lambda job, work: job.id in room)
    big, small = (SimpleNamespace(id=number, task_seconds=1.0 - number, ended=False) for number in range(2))
    queue.add(big, _Parts())
    assert queue.next(rows_wait=False) is None
    assert queue.held[0] is big
    queue.add(small, _Parts())
    room |= {0, 1}
    for _ in range(2):  # it is the turn of the one that took the least time
        queue.look_again()
        if (due := queue.next(rows_wait=False)) is not None:
            break
    assert due[0] is big
    assert queue.held is None


def test_a_work_whose_job_has_ended_needs_no_room():
    queue, job = TaskQueue(lambda job, work: False), SimpleNamespace(id=1, task_seconds=0.0, ended=True)
    queue.add(job, _Parts())
    assert queue.next(rows_wait=False)[0] is job
