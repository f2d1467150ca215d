"""Who is let in, and what those are told who are not."""

import pytest

from steno.streaming.admission import Admission
from steno.streaming.metrics import Metrics
from steno.streaming.protocol import ErrorCode, ProtocolError


def test_the_engine_is_asked_about_new_sessions_only() -> None:
    reasons: list[str | None] = ["all 3 slots of the model are in use"]
    metrics = Metrics()
    admission = Admission(10, metrics, lambda: reasons[0])
    with pytest.raises(ProtocolError, match="all 3 slots") as refused, admission.session("stream"):
        pass
    assert refused.value.code is ErrorCode.FULL
    assert refused.value.close_code == 1013
    assert admission.sessions == 0
    with admission.session("stream", new=False):
        assert admission.sessions == 1
        with pytest.raises(ProtocolError, match="all 3 slots"):
            admission.check_engine()
    assert metrics.registry.get_sample_value("steno_sessions_refused_total", {"reason": "full"}) == 2
    reasons[0] = None
    with admission.session("stream"):
        admission.check_engine()


def test_sessions_are_counted_before_the_engine_is_asked() -> None:
    admission = Admission(1, Metrics(), lambda: "the model is busy")
    with (
        admission.session("stream", new=False),
        pytest.raises(ProtocolError, match="all 1 sessions"),
        admission.session("stream"),
    ):
        pass
