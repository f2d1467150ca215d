"""What the server counts, for Prometheus: one object, its own registry, no globals.

Knows names, help texts and buckets. Refuses to know who counts: the engine and the connections are handed this
object and touch its fields. The text form is what `/metrics` answers with.
"""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """All metrics of one server process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry

        self.sessions = Gauge("steno_sessions", "Sessions open now", registry=registry)
        self.sessions_opened = Counter(
            "steno_sessions_opened", "Sessions admitted since the start", ["protocol"], registry=registry
        )
        self.sessions_refused = Counter(
            "steno_sessions_refused", "Connections refused, by reason", ["reason"], registry=registry
        )
        self.sessions_closed = Counter(
            "steno_sessions_closed",
            "Sessions ended, by WebSocket close code (the server's, or the client's where it closed)",
            ["code"],
            registry=registry,
        )
        self.audio_seconds = Counter("steno_audio_seconds", "Audio taken into the engine", registry=registry)
        self.messages_sent = Counter(
            "steno_messages_sent", "Messages sent to clients, by type", ["type"], registry=registry
        )
        self.partials_dropped = Counter(
            "steno_partials_dropped",
            "Partials replaced by a newer message before a slow reader took them",
            registry=registry,
        )
        self.finals_contradicted = Counter(
            "steno_finals_contradicted", "Finals that took back committed text", registry=registry
        )
        self.sessions_detached = Gauge(
            "steno_sessions_detached", "Sessions that wait for their client to come back", registry=registry
        )
        self.sessions_resumed = Counter(
            "steno_sessions_resumed", "Sessions taken up again on a new connection", registry=registry
        )
        self.faults = Counter("steno_faults", "Faults of clients, by error code", ["code"], registry=registry)
        self.internal_errors = Counter(
            "steno_internal_errors", "Sessions that ended by a fault of ours", registry=registry
        )

        self.streams = Gauge("steno_streams", "Utterances open in the engine", registry=registry)
        self.inbox = Gauge("steno_inbox", "Work items not yet taken by the model thread", registry=registry)
        self.batch = Histogram("steno_batch_streams", "Streams per step", buckets=_BATCH, registry=registry)
        self.step_seconds = Histogram(
            "steno_step_seconds", "Duration of one step of the model", buckets=_SECONDS, registry=registry
        )
        self.partial_wait_seconds = Histogram(
            "steno_partial_wait_seconds",
            "From the request of an update to its hypothesis",
            buckets=_SECONDS,
            registry=registry,
        )
        self.final_wait_seconds = Histogram(
            "steno_final_wait_seconds",
            "From the end of an utterance to its final hypothesis",
            buckets=_SECONDS,
            registry=registry,
        )
        self.step_failures = Counter("steno_step_failures", "Steps of the model that raised", registry=registry)
        self.alignment_failures = Counter(
            "steno_alignment_failures", "Finals without word times because the aligner failed", registry=registry
        )
        self.streams_failed = Counter(
            "steno_streams_failed", "Utterances given up because the model failed on them", registry=registry
        )
        self.streams_cancelled = Counter(
            "steno_streams_cancelled", "Utterances dropped by client or disconnect", registry=registry
        )
        self.interval_factor = Gauge(
            "steno_interval_factor", "Stretch of the update interval under load (1: none)", registry=registry
        )
        self.interval_factor.set(1)

    def text(self) -> bytes:
        """The Prometheus text exposition, of content type `content_type`."""
        return generate_latest(self.registry)
