from __future__ import annotations

from serving.upstream.circuit import OPEN_SECONDS, THRESHOLD, CircuitBreaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    circuit = CircuitBreaker(lambda: 0.0)
    for _ in range(THRESHOLD - 1):
        circuit.failed()
    circuit.succeeded()
    for _ in range(THRESHOLD - 1):
        circuit.failed()

    assert not circuit.open
    circuit.failed()
    assert circuit.open
    assert not circuit.allows()


def test_an_open_one_lets_one_call_at_a_time_try_and_closes_on_success() -> None:
    now = [0.0]
    circuit = CircuitBreaker(lambda: now[0])
    for _ in range(THRESHOLD):
        circuit.failed()
    assert circuit.wait == OPEN_SECONDS

    now[0] = OPEN_SECONDS
    assert [circuit.allows() for _ in range(3)] == [True, False, False]
    circuit.failed()
    now[0] = 2 * OPEN_SECONDS - 0.1
    assert not circuit.allows()
    now[0] = 2 * OPEN_SECONDS
    assert circuit.allows()
    circuit.succeeded()

    assert [circuit.allows() for _ in range(3)] == [True, True, True]
