"""One Hypothesis profile for all tests."""

from hypothesis import HealthCheck, settings

# How long an example takes says nothing about the package. What a function-scoped fixture makes is made once for all
# examples; the tests that use one know it. In CI Hypothesis adds its own profile: the same examples in each run.
settings.register_profile(
    "ckpt-doctor",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ckpt-doctor")
