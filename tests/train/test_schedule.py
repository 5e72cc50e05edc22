import pytest

from lowdose.train.schedule import warmup_cosine


def factors(steps, warmup):
    return [warmup_cosine(step, steps=steps, warmup=warmup) for step in range(steps)]


def test_the_rate_rises_evenly_and_then_falls_to_almost_nothing():
    found = factors(1000, 100)
    assert found[:100] == pytest.approx([(step + 1) / 100 for step in range(100)])
    assert found[99] == found[100] == 1
    falling = found[100:]
    assert falling == sorted(falling, reverse=True)
    assert 0 < found[-1] < 1e-5


def test_half_way_down_it_is_one_half():
    assert warmup_cosine(550, steps=1000, warmup=100) == pytest.approx(0.5)


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (1, 0), (1, 5), (5, 5), (3, 100)])
def test_it_stays_between_nothing_and_one_for_the_oddest_runs(steps, warmup):
    assert all(0 < factor <= 1 for factor in factors(steps, warmup))


def test_past_the_end_it_is_nothing():
    assert warmup_cosine(2000, steps=1000, warmup=100) == 0
