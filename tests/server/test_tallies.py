import math

import prometheus_client as pc
from hypothesis import given
from hypothesis import strategies as st

from server.tallies import Counter, Histogram

BUCKETS = (0.1, 1.0, 2.5)


def shown(registry: pc.CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 3.0, math.inf]))))
def test_what_is_shown_is_what_prometheus_client_shows(observed: list[tuple[str, float]]) -> None:
    ours, theirs = pc.CollectorRegistry(), pc.CollectorRegistry()
    histogram = Histogram("h", "H.", ["model"], buckets=BUCKETS, registry=ours)
    counter = Counter("c", "C.", ["model"], registry=ours)
    their_histogram = pc.Histogram("h", "H.", ["model"], buckets=BUCKETS, registry=theirs)
    their_counter = pc.Counter("c", "C.", ["model"], registry=theirs)
    for model, amount in observed:
        histogram.labels(model).observe(amount)
        counter.labels(model).inc(amount)
        their_histogram.labels(model).observe(amount)
        their_counter.labels(model).inc(amount)
    assert shown(ours) == shown(theirs)
