"""The thirty languages of the family, by English name and by code.

The English name is what the model reads and writes (`language English<asr_text>`), so everything inside uses it; codes
are accepted at the borders. Knows nothing of tokens.

The models also understand 22 Chinese dialects. They cannot be selected: ask for Chinese, or for Cantonese where that is
spoken. They are: Anhui, Dongbei, Fujian, Gansu, Guizhou, Hebei, Henan, Hubei, Hunan, Jiangxi, Ningxia, Shandong,
Shaanxi, Shanxi, Sichuan, Tianjin, Yunnan, Zhejiang, Cantonese (Hong Kong accent), Cantonese (Guangdong accent), Wu and
Minnan.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "Chinese": "zh",
    "English": "en",
    "Cantonese": "yue",
    "Arabic": "ar",
    "German": "de",
    "French": "fr",
    "Spanish": "es",
    "Portuguese": "pt",
    "Indonesian": "id",
    "Italian": "it",
    "Korean": "ko",
    "Russian": "ru",
    "Thai": "th",
    "Vietnamese": "vi",
    "Japanese": "ja",
    "Turkish": "tr",
    "Hindi": "hi",
    "Malay": "ms",
    "Dutch": "nl",
    "Swedish": "sv",
    "Danish": "da",
    "Finnish": "fi",
    "Polish": "pl",
    "Czech": "cs",
    "Filipino": "fil",
    "Persian": "fa",
    "Greek": "el",
    "Romanian": "ro",
    "Hungarian": "hu",
    "Macedonian": "mk",
}
"""English name -> code (ISO 639-1 where there is one)."""

NAMES: dict[str, str] = {code: name for name, code in CODES.items()}
"""Code -> English name."""

_OTHER_CODES = {"cmn": "Chinese", "tl": "Filipino"}  # what Whisper clients and BCP 47 tags also say
_ACCEPTED = {
    **_OTHER_CODES,
    **NAMES,
    **{name.lower(): name for name in CODES},
}


class LanguageError(ValueError):
    """A language that the models do not have."""


def resolve(name_or_code: str) -> str:
    """English name of a language given by name or code in any case, with or without a region (`en-US` is English).

    Raises LanguageError naming the value and everything that is accepted.
    """
    wanted = name_or_code.strip().lower()
    primary = wanted.replace("_", "-").split("-", 1)[0]
    found = _ACCEPTED.get(wanted) or _ACCEPTED.get(primary)
    if found is None:
        accepted = ", ".join(f"{name} ({code})" for name, code in CODES.items())
        raise LanguageError(f"unknown language {name_or_code!r}; expected one of: {accepted}")
    return found
