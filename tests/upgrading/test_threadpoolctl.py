"""How far the limits of threadpoolctl reach, which its manual does not say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import sklearn.ensemble  # noqa: F401 - only what is loaded can be limited
from threadpoolctl import threadpool_info, threadpool_limits


def openmp_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}


def test_threadpoolctl_still_limits_openmp_for_the_calling_thread_only() -> None:
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(openmp_threads).result()
        with threadpool_limits(1, user_api="openmp"):
            assert openmp_threads() == {1}
            assert pool.submit(openmp_threads).result() == before
