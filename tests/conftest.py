"""Hypothesis is derandomised, so that every run tests the same cases; no test has a deadline. An interrupt is heard.

few_docs    a fixture of several folders
"""

import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "savi", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("savi")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job in the background of a shell, and in its children
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def few_docs(tmp_path, monkeypatch):
    """Docstrings of forty files, in a cache of their own."""
    rng = np.random.default_rng(0)
    groups = [(f"{i}.py", [(*(f"word{w}" for w in rng.integers(0, 20, 12)), ".") for _ in range(6)]) for i in range(40)]
    monkeypatch.setenv("SAVI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("savi.data.docstrings.read", lambda: groups)
