"""Memory of arrays that goes back without the interpreter's lock."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from mlxk_mlx.loading import runtime


@pytest.fixture(scope="module")
def mx():
    runtime.start()
    return pytest.importorskip("mlx.core")


def test_released_arrays_are_freed_unless_they_are_used(mx):
    from mlxk_mlx.loading.release import release_arrays

    kept, gone = mx.ones((6, 1 << 20)), mx.ones((6, 1 << 20))
    empty, small, packed = mx.zeros((0, 4)), mx.array(1.0), mx.ones((3, 5), mx.uint32)
    mx.eval(kept, gone, empty, small, packed)
    before = mx.get_active_memory()
    arrays = [kept, gone, empty, small, packed]
    del gone, empty, small, packed
    release_arrays(arrays)
    assert arrays == []
    assert before - mx.get_active_memory() >= 6 << 22
    assert kept.sum().item() == 6 << 20


def test_the_caches_of_a_prompt_are_freed(mx):
    from mlx_lm.models.cache import ArraysCache, CacheList, KVCache

    from mlxk_mlx.loading.release import release_caches

    caches = [KVCache(), CacheList(KVCache(), KVCache()), ArraysCache(2)]
    before = mx.get_active_memory()
    for layer in (caches[0], *caches[1].caches):
        layer.update_and_fetch(mx.ones((1, 4, 4096, 64)), mx.ones((1, 4, 4096, 64)))
        mx.eval(layer.keys, layer.values)
    caches[2][0] = mx.ones((1 << 20,))
    mx.eval(caches[2][0])
    assert mx.get_active_memory() - before > 24 << 20
    release_caches(caches)
    assert mx.get_active_memory() - before < 1 << 20


def test_caches_of_several_parts_alone_are_freed(mx):
    """DeepSeek V3.2 has no others."""
    from mlx_lm.models.cache import CacheList, KVCache

    from mlxk_mlx.loading.release import release_caches

    layers = [CacheList(KVCache(), KVCache()), CacheList()]
    before = mx.get_active_memory()
    for part in layers[0].caches:
        part.update_and_fetch(mx.ones((1, 4, 16384, 64)), mx.ones((1, 4, 16384, 64)))
        mx.eval(part.keys, part.values)
    release_caches(layers)
    release_caches([])
    assert mx.get_active_memory() - before < 1 << 20


def test_other_threads_go_on_while_a_network_is_freed(mx):
    import mlx.nn as nn

    from mlxk_mlx.loading.release import release_network

    network = nn.Sequential(*(nn.Linear(8192, 8192, bias=False) for _ in range(4)))
    network.set_dtype(mx.float32)
    mx.eval(network.parameters())
    before, ended, turns = mx.get_active_memory(), threading.Event(), []

    def count():
        while not ended.is_set():
            turns.append(time.perf_counter())
            time.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # only a thread that gives up the lock lets the other one go on
    try:
        thread = threading.Thread(target=count)
        thread.start()
        began = time.perf_counter()
        release_network(network)
        over = time.perf_counter()
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        thread.join()
    assert before - mx.get_active_memory() >= 4 * 8192 * 8192 * 4
    assert sum(began < turn < over for turn in turns) > 10
