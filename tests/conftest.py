"""Hypothesis is derandomised, so that every run tests the same cases; no test has a deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "savi", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("savi")
