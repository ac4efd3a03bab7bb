import numpy as np
import pytest

from benchmarks.serving.record import Record, max_concurrent, summary


def streamed(scheduled: float, times: list[float], tokens: list[int], **more: object) -> Record:
    return Record(
        scheduled,
        scheduled + 0.5,
        times,
        tokens,
        end=times[-1],
        prompt_tokens=7,
        output_tokens=sum(tokens),
        status=200,
    )


def test_latencies_count_from_when_a_request_was_due_not_from_when_it_was_sent() -> None:
    record = streamed(10.0, [13.0, 14.0, 17.0], [1, 2, 2])
    assert record.sent == 10.5
    assert (record.ttft, record.e2el, record.tpot, record.itls) == (3.0, 7.0, 1.0, [1.0, 3.0])


def test_percentiles_are_numpys() -> None:
    generator = np.random.default_rng(0)
    records, ttfts, tpots, itls, e2els = [], [], [], [], []
    for scheduled in np.sort(generator.uniform(0, 5, 200)):
        times = scheduled + np.cumsum(generator.exponential(0.1, 6))
        records.append(streamed(scheduled, times.tolist(), [1] * 6))
        ttfts.append(times[0] - scheduled)
        tpots.append((times[-1] - times[0]) / 5)
        itls += np.diff(times).tolist()
        e2els.append(times[-1] - scheduled)
    found = summary(records, 5.0)
    for name, values in {"ttft": ttfts, "tpot": tpots, "itl": itls, "e2el": e2els}.items():
        ms = np.array(values) * 1e3
        assert found[f"mean_{name}_ms"] == pytest.approx(np.mean(ms))
        assert found[f"median_{name}_ms"] == pytest.approx(np.median(ms))
        assert found[f"std_{name}_ms"] == pytest.approx(np.std(ms))
        for percent in (50, 90, 99):
            assert found[f"p{percent}_{name}_ms"] == pytest.approx(np.percentile(ms, percent))
    assert found["output_throughput"] == 200 * 6 / 5
    assert found["total_token_throughput"] == 200 * 13 / 5
    assert found["request_throughput"] == found["request_goodput"] == 40


def test_failed_requests_are_counted_and_have_no_latencies() -> None:
    good = Record(0.0, 0.0, end=1.0, output_tokens=3, status=200)
    full = Record(0.0, 0.0, end=50.0, status=429, error="status 429")
    gone = Record(0.0, 0.0, end=2.0, status=0, error="ConnectionError")
    found = summary([good, full, gone], 2.0)
    assert (found["completed"], found["failed"], found["statuses"]) == (1, 2, {"0": 1, "200": 1, "429": 1})
    assert found["p99_e2el_ms"] == 1000
    assert found["output_throughput"] == 1.5
    assert found["mean_ttft_ms"] is None  # a whole answer does not show its first token


def test_goodput_counts_requests_within_every_limit() -> None:
    fast, late, slow = (
        streamed(0.0, [0.1, 0.2], [1, 1]),
        streamed(0.0, [0.9, 1.0], [1, 1]),
        streamed(0.0, [0.1, 1.1], [1, 1]),
    )
    assert summary([fast, late, slow], 1.0, {"ttft": 500, "tpot": 500})["request_goodput"] == 1
    assert summary([fast, late, slow], 1.0, {"ttft": 500})["request_goodput"] == 2
    with pytest.raises(ValueError, match="limits of itl"):
        summary([fast], 1.0, {"itl": 1})


def test_duration_is_from_the_first_that_was_due_to_the_last_answer() -> None:
    assert summary([streamed(1.0, [2.0], [1]), streamed(3.0, [6.0], [1])])["duration"] == 5.0
    assert summary([])["duration"] == 0.0


def test_requests_out_at_once() -> None:
    records = [Record(0, sent, end=end) for sent, end in [(0, 2), (1, 3), (2, 4), (2.5, 2.6)]]
    assert max_concurrent(records) == 3
    assert max_concurrent([]) == 0
