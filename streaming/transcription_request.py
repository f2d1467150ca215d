"""The form of OpenAI's `POST /v1/audio/transcriptions`, read and judged. Pure: names and strings in, a value out.

Knows every field that OpenAI documents, and says of each either what it means here or why it is refused. Refuses to
know HTTP, the file's bytes and the model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from .openai_errors import OpenAIError, unsupported_value

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("word", "segment")
_BOOLEANS: Mapping[str, bool] = MappingProxyType({"true": True, "1": True, "false": False, "0": False, "": False})
_MAX_VALUES = 200
_NO_SPEAKERS = "there is no speaker model on this server"


class ChunkingStrategy(msgspec.Struct, frozen=True):
    """The knobs of `chunking_strategy` with `server_vad`; "auto" has none of them."""

    type: str = "auto"
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a client wants to know of its file. `chunking` None: short files are transcribed in one piece."""

    language: str | None = None
    languages: tuple[str, ...] = ()
    context: str = ""
    response_format: str = "json"
    words: bool = False
    logprobs: bool = False
    stream: bool = False
    temperature: float = 0.0
    chunking: ChunkingStrategy | None = None

    @property
    def timed(self) -> bool:
        """Whether the answer tells times of segments."""
        return self.response_format in ("verbose_json", "srt", "vtt")


def read_request(fields: Iterable[tuple[str, str]]) -> TranscriptionRequest:
    """The request of a form's text fields, in order; names of lists may end in `[]`, those of objects in `[name]`.

    Raises OpenAIError naming the field, the value and what was expected. `model` may be anything: there is one model.
    """
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.removesuffix("[]"), []).append(value)
    if any(len(each) > _MAX_VALUES for each in values.values()):
        raise OpenAIError(f"a field has more than {_MAX_VALUES} values", "invalid_value")
    response_format = _last(values, "response_format") or "json"
    if response_format == "diarized_json" or "known_speaker_names" in values or "known_speaker_references" in values:
        raise OpenAIError(f"diarization is not supported: {_NO_SPEAKERS}", "unsupported_value", "response_format")
    if response_format not in RESPONSE_FORMATS:
        raise unsupported_value("response_format", response_format, RESPONSE_FORMATS)
    stream = _boolean(values, "stream")
    if stream and response_format in ("srt", "vtt"):
        raise unsupported_value("response_format", response_format, ("json", "text", "verbose_json"))
    return TranscriptionRequest(
        language=_last(values, "language") or None,
        languages=tuple(values.get("languages", ())),
        context=context_of(_last(values, "prompt"), values.get("keywords", [])),
        response_format=response_format,
        words="word" in _granularities(values, response_format),
        logprobs=_logprobs(values, response_format),
        stream=stream,
        temperature=_temperature(values),
        chunking=_chunking(values),
    )


def context_of(prompt: str | None, keywords: Iterable[str]) -> str:
    """The text given to the model as context: the prompt, then the hot words."""
    return "\n".join(part for part in (prompt or "", ", ".join(keywords)) if part)


def _last(values: Mapping[str, list[str]], name: str) -> str:
    return values[name][-1] if name in values else ""


def _boolean(values: Mapping[str, list[str]], name: str) -> bool:
    text = _last(values, name).lower()
    if text not in _BOOLEANS:
        raise unsupported_value(name, text, ("true", "false"))
    return _BOOLEANS[text]


def _granularities(values: Mapping[str, list[str]], response_format: str) -> list[str]:
    asked = values.get("timestamp_granularities", [])
    for each in asked:
        if each not in GRANULARITIES:
            raise unsupported_value("timestamp_granularities", each, GRANULARITIES)
    if asked and response_format != "verbose_json":
        message = f"timestamp_granularities need response_format 'verbose_json', not '{response_format}'"
        raise OpenAIError(message, "invalid_value", "timestamp_granularities")
    return asked


def _logprobs(values: Mapping[str, list[str]], response_format: str) -> bool:
    asked = values.get("include", [])
    for each in asked:
        if each != "logprobs":
            raise unsupported_value("include", each, ("logprobs",))
    if asked and response_format != "json":
        raise OpenAIError("logprobs need response_format 'json'", "invalid_value", "include")
    return bool(asked)


def _temperature(values: Mapping[str, list[str]]) -> float:
    text = _last(values, "temperature") or "0"
    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 1:
        raise OpenAIError(f"Invalid value: '{text}'. Expected a number from 0 to 1.", "invalid_value", "temperature")
    return temperature


def _chunking(values: Mapping[str, list[str]]) -> ChunkingStrategy | None:
    """ "auto", a JSON object, or the object's members as fields `chunking_strategy[name]`."""
    members = {
        name.removeprefix("chunking_strategy[").removesuffix("]"): each[-1]
        for name, each in values.items()
        if name.startswith("chunking_strategy[")
    }
    text = _last(values, "chunking_strategy")
    try:
        if members:
            strategy = msgspec.convert(members, ChunkingStrategy, strict=False)
        elif text in ("", "auto"):
            return ChunkingStrategy() if text else None
        else:
            strategy = msgspec.json.decode(text, type=ChunkingStrategy)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise OpenAIError(f"Invalid chunking strategy: {fault}", "invalid_value", "chunking_strategy") from fault
    if strategy.type != "server_vad":
        raise unsupported_value("chunking_strategy.type", strategy.type, ("server_vad",))
    return strategy
