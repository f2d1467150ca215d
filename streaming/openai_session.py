"""The configuration of an OpenAI Realtime transcription session: read from `session.update`, kept, told back. Pure.

Knows the GA shape (`audio.input...`), the older flat one, and what each knob means in our `Start` and options. Refuses
to know events, audio and turns. Fields of other kinds of sessions are ignored; a field left out stays as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .config import SessionOptions
from .openai_errors import OpenAIError, unsupported_value
from .protocol import Start
from .transcription_request import context_of
from .turn_detection import DELAY_MS, EAGERNESS_MS, with_server_vad

Json = dict[str, object]
_T = TypeVar("_T")

LOGPROBS = "item.input_audio_transcription.logprobs"
SEGMENTS = "item.input_audio_transcription.segments"
UNSTABLE = "item.input_audio_transcription.unstable"
"""The last two are ours: an event for each segment, and one for each change of the text that may still change."""
INCLUDES = (LOGPROBS, SEGMENTS, UNSTABLE)

DASHSCOPE_RATE = 16_000
PCM_RATES = (24_000, 16_000, 48_000, 8_000)
_PCM, _MULAW, _ALAW = "audio/pcm", "audio/pcmu", "audio/pcma"
_ENCODINGS: Mapping[str, str] = MappingProxyType({_PCM: "pcm_s16le", _MULAW: "mulaw", _ALAW: "alaw"})
_FLAT_FORMATS: Mapping[str, str] = MappingProxyType(
    {"pcm16": _PCM, "pcm": _PCM, "g711_ulaw": _MULAW, "g711_alaw": _ALAW}
)
_TELEPHONE_RATE = 8_000


class _Format(msgspec.Struct, frozen=True):
    type: str
    rate: int | None = None


class _Corpus(msgspec.Struct, frozen=True):
    """DashScope's name for a prompt."""

    text: str | None = None


class _Transcription(msgspec.Struct, frozen=True):
    model: str | None | UnsetType = UNSET
    language: str | None | UnsetType = UNSET
    languages: list[str] | None | UnsetType = UNSET
    prompt: str | None | UnsetType = UNSET
    keywords: list[str] | None | UnsetType = UNSET
    delay: str | None | UnsetType = UNSET
    corpus: _Corpus | None = None


class TurnDetection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who ends a turn, and after how much silence. What answers and interruptions mean is not for a transcriber."""

    type: str = "server_vad"
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    eagerness: str | None = None
    idle_timeout_ms: int | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class _Input(msgspec.Struct, frozen=True):
    format: _Format | None | UnsetType = UNSET
    noise_reduction: Raw = Raw()
    transcription: _Transcription | None | UnsetType = UNSET
    turn_detection: TurnDetection | None | UnsetType = UNSET


class _Audio(msgspec.Struct, frozen=True):
    input: _Input | None = None


class SessionPatch(msgspec.Struct, frozen=True):
    """What a client sends as `session`, in either shape."""

    type: str = "transcription"
    audio: _Audio | None = None
    include: list[str] | None | UnsetType = UNSET
    input_audio_format: str | UnsetType = UNSET
    input_audio_transcription: _Transcription | None | UnsetType = UNSET
    input_audio_noise_reduction: Raw = Raw()
    turn_detection: TurnDetection | None | UnsetType = UNSET
    sample_rate: int | None = None

    @property
    def flat(self) -> bool:
        """Whether it is the older shape."""
        older = (self.input_audio_format, self.input_audio_transcription, self.turn_detection)
        return self.audio is None and any(each is not UNSET for each in older)


def read_patch(session: bytes) -> SessionPatch:
    """Raises OpenAIError naming the parameter."""
    try:
        return msgspec.json.decode(session, type=SessionPatch)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        text = str(fault)
        _, marked, path = text.partition(" - at `$")
        param = "session" + path.rstrip("`") if marked else "session"
        code = "missing_required_parameter" if "missing required field" in text else "invalid_type"
        raise OpenAIError(f"Invalid session: {text}", code, param) from fault


@dataclass(frozen=True, slots=True)
class RealtimeConfig:
    """What is in force. `turn` None: the client commits. `flat`: told back in the older shape."""

    format: str = _PCM
    rate: int = PCM_RATES[0]
    model: str | None = None
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    delay: str | None = None
    turn: TurnDetection | None = TurnDetection()
    noise_reduction: bytes = b"null"
    include: tuple[str, ...] = ()
    flat: bool = False

    def patched(self, patch: SessionPatch) -> "RealtimeConfig":
        """With the fields that the client sent. Raises OpenAIError naming the parameter."""
        if patch.type != "transcription":
            raise unsupported_value("session.type", patch.type, ("transcription",))
        heard = (patch.audio and patch.audio.input) or _Input()
        config = replace(self, flat=patch.flat or (self.flat and patch.audio is None))
        if patch.input_audio_format is not UNSET:
            if patch.input_audio_format not in _FLAT_FORMATS:
                raise unsupported_value("session.input_audio_format", patch.input_audio_format, tuple(_FLAT_FORMATS))
            config = config._with_format(_FLAT_FORMATS[patch.input_audio_format], patch.sample_rate)
        if isinstance(heard.format, _Format):
            config = config._with_format(heard.format.type, heard.format.rate)
        config = config._with_transcription(heard.transcription, patch.input_audio_transcription)
        config = config._with_turn(heard.turn_detection, patch.turn_detection)
        for reduction in (heard.noise_reduction, patch.input_audio_noise_reduction):
            if bytes(reduction):
                config = replace(config, noise_reduction=bytes(reduction))
        if patch.include is not UNSET:
            for each in patch.include or ():
                if each not in INCLUDES:
                    raise unsupported_value("session.include", each, INCLUDES)
            config = replace(config, include=tuple(patch.include or ()))
        return config

    def _with_format(self, kind: str, rate: int | None) -> "RealtimeConfig":
        if kind not in _ENCODINGS:
            raise unsupported_value("session.audio.input.format.type", kind, tuple(_ENCODINGS))
        if kind != _PCM:
            return replace(self, format=kind, rate=_TELEPHONE_RATE)
        if rate is None:
            rate = self.rate if self.format == _PCM else PCM_RATES[0]
        if rate not in PCM_RATES:
            raise unsupported_value("session.audio.input.format.rate", rate, tuple(map(str, PCM_RATES)))
        return replace(self, format=kind, rate=rate)

    def _with_transcription(self, *sent: _Transcription | None | UnsetType) -> "RealtimeConfig":
        config = self
        for each in sent:
            if each is UNSET:
                continue
            fields = each or _Transcription(None, None, None, None, None, None)
            if fields.corpus is not None:
                config = replace(config, prompt=fields.corpus.text)
            if isinstance(fields.delay, str) and fields.delay not in DELAY_MS:
                raise unsupported_value("session.audio.input.transcription.delay", fields.delay, tuple(DELAY_MS))
            config = replace(
                config,
                model=_kept(fields.model, config.model),
                language=_kept(fields.language, config.language) or None,
                languages=tuple(_kept(fields.languages, list(config.languages)) or ()),
                prompt=_kept(fields.prompt, config.prompt),
                keywords=tuple(_kept(fields.keywords, list(config.keywords)) or ()),
                delay=_kept(fields.delay, config.delay),
            )
        return config

    def _with_turn(self, *sent: TurnDetection | None | UnsetType) -> "RealtimeConfig":
        config = self
        for each in sent:
            if each is UNSET:
                continue
            if each is not None and each.type not in ("server_vad", "semantic_vad"):
                param = "session.audio.input.turn_detection.type"
                raise unsupported_value(param, each.type, ("server_vad", "semantic_vad"))
            if each is not None and each.eagerness not in (None, *EAGERNESS_MS):
                param = "session.audio.input.turn_detection.eagerness"
                raise unsupported_value(param, each.eagerness, tuple(EAGERNESS_MS))
            config = replace(config, turn=each)
        return config

    def start(self) -> Start:
        """Our first message. The VAD is on in every mode: between the client's commits silence costs nothing and says
        nothing.
        """
        return Start(
            sample_rate=self.rate,
            encoding=_ENCODINGS[self.format],
            language=self.language,
            languages=self.languages,
            context=context_of(self.prompt, self.keywords),
            interval_ms=None if self.delay is None else DELAY_MS[self.delay],
            logprobs=LOGPROBS in self.include,
        )

    def options(self, offered: SessionOptions) -> SessionOptions:
        """What the server offers, with the knobs of the turn detection. Raises OpenAIError."""
        turn = self.turn
        if turn is None:
            # The client says where a turn ends: let everything through that may be speech, and join what pauses split.
            return replace(
                offered,
                vad_aggressiveness=0,
                vad_margin_db=offered.vad_margin_db / 2,
                endpoint_ms=max(offered.endpoint_ms, 1000),
                pre_roll_ms=max(offered.pre_roll_ms, 500),
            )
        if turn.type == "semantic_vad":
            return replace(offered, endpoint_ms=EAGERNESS_MS[turn.eagerness or "auto"])
        try:
            return with_server_vad(
                offered,
                threshold=turn.threshold,
                prefix_padding_ms=turn.prefix_padding_ms,
                silence_duration_ms=turn.silence_duration_ms,
            )
        except ValueError as fault:
            raise OpenAIError(str(fault), "invalid_value", "session.audio.input.turn_detection") from fault

    def as_session(self, session_id: str, expires_at: int, offered: SessionOptions) -> Json:
        """The `session` object of `session.created` and `session.updated`: everything in force."""
        told: Json = {
            "id": session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": expires_at,
            "include": list(self.include) or None,
        }
        if self.flat:
            names = {_PCM: "pcm16", _MULAW: "g711_ulaw", _ALAW: "g711_alaw"}
            flat: Json = {
                "input_audio_format": names[self.format],
                "input_audio_transcription": self._transcription(),
                "input_audio_noise_reduction": msgspec.json.decode(self.noise_reduction),
                "turn_detection": self._turn(offered),
            }
            return {**told, **flat}
        format_: Json = {"type": self.format}
        if self.format == _PCM:
            format_["rate"] = self.rate
        heard: Json = {
            "format": format_,
            "noise_reduction": msgspec.json.decode(self.noise_reduction),
            "transcription": self._transcription(),
            "turn_detection": self._turn(offered),
        }
        return {**told, "audio": {"input": heard}}

    def _transcription(self) -> Json:
        told: Json = {"model": self.model, "language": self.language, "prompt": self.prompt}
        more = {"languages": list(self.languages), "keywords": list(self.keywords), "delay": self.delay}
        return {**told, **{name: value for name, value in more.items() if value}}

    def _turn(self, offered: SessionOptions) -> object:
        if self.turn is None:
            return None
        told: Json = msgspec.to_builtins(self.turn)
        told["type"] = self.turn.type
        if self.turn.type == "server_vad":
            options = self.options(offered)
            told.setdefault("threshold", 0.5)
            told["prefix_padding_ms"] = options.pre_roll_ms
            told["silence_duration_ms"] = options.endpoint_ms
        else:
            told.setdefault("eagerness", "auto")
        return told


def _kept(sent: _T | None | UnsetType, before: _T | None) -> _T | None:
    return before if isinstance(sent, UnsetType) else sent
