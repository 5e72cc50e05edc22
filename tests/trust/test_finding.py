import math

import pytest

from lowdose.trust.finding import Finding, judged


@pytest.mark.parametrize("level", ["note", "warning"])
@pytest.mark.parametrize("value", [0.31, math.inf, math.nan])
def test_beyond_the_threshold_a_check_says_what_is_wrong_and_what_to_do(value, level):
    found = judged("name", value, 0.3, fine="Good.", fault="Bad.", action="Act.", level=level)
    assert found == Finding("name", level, value, 0.3, "Bad.", "Act.")


@pytest.mark.parametrize("value", [-math.inf, 0.3])
def test_up_to_the_threshold_a_check_asks_for_nothing(value):
    found = judged("name", value, 0.3, fine="Good.", fault="Bad.", action="Act.")
    assert found == Finding("name", "fine", value, 0.3, "Good.")
