"""Finals of a file as OpenAI's answers: json, text, verbose_json, srt, vtt, and the events of a stream. Pure.

Knows those formats and our finals; refuses to know HTTP and how the finals came about.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from types import MappingProxyType
from typing import TypeAlias

from .joined_text import joined, separator
from .protocol import Final, Token

Json: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class FileTranscript:
    """Everything that was heard in a file of `duration_ms`. `codes`: ISO codes by English name."""

    finals: Sequence[Final]
    duration_ms: int
    codes: Mapping[str, str]
    temperature: float = 0.0
    logprobs: bool = False
    words: bool = False

    @property
    def spoken(self) -> list[Final]:
        return [final for final in self.finals if final.text]

    @property
    def text(self) -> str:
        return joined(final.text for final in self.finals)

    @property
    def languages(self) -> list[str]:
        """English names, the most spoken first."""
        heard_ms: dict[str, int] = {}
        for final in self.spoken:
            if final.language is not None:
                heard_ms[final.language] = heard_ms.get(final.language, 0) + final.end_ms - final.start_ms
        return sorted(heard_ms, key=lambda name: -heard_ms[name])


def usage(duration_ms: int) -> Json:
    """OpenAI's account of a model that is billed by time."""
    return {"type": "duration", "seconds": duration_ms / 1000}


def language_codes(names: Iterable[str], codes: Mapping[str, str]) -> list[Json]:
    """The `languages` field: `[{"code": "en"}]`."""
    return [{"code": codes.get(name, name)} for name in names]


def log_probabilities(finals: Iterable[Final]) -> list[Json]:
    """The `logprobs` field: token, its bytes, natural logarithm of its probability."""
    listed: list[Json] = []
    whole = ""
    for final in finals:
        gap = separator(whole, final.text)
        whole += gap + final.text
        for index, token in enumerate(final.tokens or ()):
            listed.append(_log_probability(token, gap if index == 0 else ""))
    return listed


def _log_probability(token: Token, before: str) -> Json:
    text = before + token.text
    return {"token": text, "bytes": list(text.encode()), "logprob": token.logprob}


def to_json(transcript: FileTranscript) -> str:
    """`json`: the text, its languages, what was used; log-probabilities where asked for."""
    body: Json = {"text": transcript.text, "languages": language_codes(transcript.languages, transcript.codes)}
    if transcript.logprobs:
        body["logprobs"] = log_probabilities(transcript.finals)
    return _dumped({**body, "usage": usage(transcript.duration_ms)})


def to_text(transcript: FileTranscript) -> str:
    """`text`: one line."""
    return transcript.text + "\n"


def to_verbose_json(transcript: FileTranscript) -> str:
    """`verbose_json`: segments, and words where asked for."""
    languages = transcript.languages
    body: Json = {
        "task": "transcribe",
        "language": languages[0].lower() if languages else "",
        "duration": transcript.duration_ms / 1000,
        "text": transcript.text,
        "segments": [_segment(number, final, transcript.temperature) for number, final in enumerate(transcript.spoken)],
        "usage": usage(transcript.duration_ms),
    }
    if transcript.words:
        body["words"] = [
            {"word": word.text, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
            for final in transcript.spoken
            for word in final.words or ()
        ]
    return _dumped(body)


def _segment(number: int, final: Final, temperature: float) -> Json:
    """`tokens` and `no_speech_prob` are neutral: ids of this vocabulary mean nothing to a client, and what was silent
    is not listed at all. Compression as Whisper measures it.
    """
    encoded = final.text.encode()
    return {
        "id": number,
        "seek": final.start_ms // 10,
        "start": final.start_ms / 1000,
        "end": final.end_ms / 1000,
        "text": final.text,
        "tokens": [],
        "temperature": temperature,
        "avg_logprob": round(log(max(final.confidence, 1e-10)), 4) if final.confidence is not None else 0.0,
        "compression_ratio": round(len(encoded) / len(zlib.compress(encoded)), 4),
        "no_speech_prob": 0.0,
    }


def to_srt(transcript: FileTranscript) -> str:
    """SubRip, a cue for each segment."""
    return "".join(
        f"{number}\n{_clock(final.start_ms, ',')} --> {_clock(final.end_ms, ',')}\n{final.text}\n\n"
        for number, final in enumerate(transcript.spoken, 1)
    )


def to_vtt(transcript: FileTranscript) -> str:
    """WebVTT, a cue for each segment."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(final.start_ms, '.')} --> {_clock(final.end_ms, '.')}\n{_escaped(final.text)}\n\n"
        for final in transcript.spoken
    )


@dataclass(frozen=True, slots=True)
class Format:
    """A writer and the media type of what it writes."""

    write: Callable[[FileTranscript], str]
    media_type: str


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "json": Format(to_json, "application/json"),
        "text": Format(to_text, "text/plain; charset=utf-8"),
        "verbose_json": Format(to_verbose_json, "application/json"),
        "srt": Format(to_srt, "application/x-subrip; charset=utf-8"),
        "vtt": Format(to_vtt, "text/vtt; charset=utf-8"),
    }
)


class EventStream:
    """The server-sent events of one file: a delta for each final, at the end the whole text."""

    def __init__(self, *, segments: bool, logprobs: bool) -> None:
        self._segments = segments
        self._logprobs = logprobs
        self._finals: list[Final] = []
        self._text = ""

    def final(self, final: Final) -> str:
        """The events of one more final; nothing where nothing was said."""
        if not final.text:
            return ""
        number = sum(1 for each in self._finals if each.text)
        delta = separator(self._text, final.text) + final.text
        event: Json = {"type": "transcript.text.delta", "delta": delta}
        if self._segments:
            event["segment_id"] = f"seg_{number}"
        if self._logprobs:
            event["logprobs"] = log_probabilities((*self._finals, final))[len(log_probabilities(self._finals)) :]
        self._finals.append(final)
        self._text += delta
        told = _event(event)
        if self._segments:
            told += _event(
                {
                    "type": "transcript.text.segment",
                    "id": f"seg_{number}",
                    "start": final.start_ms / 1000,
                    "end": final.end_ms / 1000,
                    "speaker": "",
                    "text": final.text,
                }
            )
        return told

    def done(self, duration_ms: int, codes: Mapping[str, str]) -> str:
        """The last events."""
        transcript = FileTranscript(self._finals, duration_ms, codes)
        event: Json = {
            "type": "transcript.text.done",
            "text": transcript.text,
            "languages": language_codes(transcript.languages, codes),
            "usage": usage(duration_ms),
        }
        if self._logprobs:
            event["logprobs"] = log_probabilities(self._finals)
        return _event(event) + "data: [DONE]\n\n"

    def error(self, detail: Mapping[str, str | None]) -> str:
        """The last event where it went wrong; OpenAI's clients raise it."""
        return _event({"type": "error", "error": dict(detail)})


def _event(event: Json) -> str:
    return f"data: {_dumped(event)}\n\n"


def _dumped(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _clock(instant_ms: int, separator_: str) -> str:
    seconds, milliseconds = divmod(instant_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator_}{milliseconds:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
