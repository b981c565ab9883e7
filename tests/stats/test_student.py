import numpy as np
import pytest
from scipy import stats

from vqbench.stats.student import normal_cdf, t_cdf, t_quantile

DEGREES = (1, 2, 3, 4, 5, 7, 10, 29, 30, 99, 1000, 9999)


@pytest.mark.parametrize("df", DEGREES)
def test_t_cdf_is_that_of_scipy(df):
    x = np.array([-40.0, -3.0, -1.0, -1e-3, 0.0, 0.5, 2.0, 12.7, 300.0])
    ours = [t_cdf(value, df) for value in x]
    np.testing.assert_allclose(ours, stats.t.cdf(x, df), atol=1e-12)


@pytest.mark.parametrize("df", DEGREES)
@pytest.mark.parametrize("p", [0.0005, 0.025, 0.3, 0.5, 0.9, 0.975, 0.995])
def test_t_quantile_is_that_of_scipy(df, p):
    assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-8, abs=1e-9)


def test_normal_cdf_is_that_of_scipy():
    x = np.linspace(-6, 6, 25)
    np.testing.assert_allclose([normal_cdf(value) for value in x], stats.norm.cdf(x), rtol=1e-12)
