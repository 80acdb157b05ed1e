"""Hypothesis is derandomised, so that every run tests the same cases; no test has a deadline. An interrupt is heard."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "savi", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("savi")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job in the background of a shell, and in its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
