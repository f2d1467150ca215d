"""Sentences for synthetic speech, in the written form of the transcripts.

Each generator takes a random.Random and returns one text. `spoken` turns a text into what a
synthesiser should be given (single letters must be read as letters).
"""

import random
from collections.abc import Callable, Sequence

from .transcripts import DIGITS, DIGITS_ES, TEENS, number_words

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MONTHS = "january february march april may june july august september october november december".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split()
)
NAMES = (
    "james mary john patricia robert jennifer michael linda david elizabeth william susan "
    "richard jessica joseph sarah thomas karen daniel lisa anna peter laura kevin maria paul "
    "emma oliver noah sophia lucas mia henry grace jack ella samuel priya rahul neha arjun "
    "smith johnson brown miller davis wilson moore taylor anderson jackson white harris martin "
    "garcia clark lewis walker young king wright scott green baker adams nelson carter mitchell "
    "campbell roberts turner phillips parker evans edwards collins stewart morris rogers reed "
    "patel sharma kumar singh gupta joshi kulkarni deshmukh patil shah mehta iyer nair rao"
).split()
WAKE_WORDS = (
    "alexa",
    "computer",
    "jarvis",
    "smart mirror",
    "snowboy",
    "view glass",
    "amelia",
    "athena",
    "hey chatterbox",
    "hey computer",
)
_ROOMS = ["kitchen", "bedroom", "living room", "bathroom", "office", "garage", "hall"]
_DEVICES = ["light", "lights", "fan", "heater", "television", "radio", "lamp", "music"]


def _digit(rng: random.Random) -> str:
    return "oh" if rng.random() < 0.03 else rng.choice(DIGITS)


def digit(rng: random.Random) -> str:
    return rng.choice(DIGITS)


def digit_string(rng: random.Random) -> str:
    return " ".join(_digit(rng) for _ in range(rng.randint(2, 8)))


def phone_number(rng: random.Random) -> str:
    return " ".join(_digit(rng) for _ in range(rng.choice([7, 10, 10, 10])))


def letter(rng: random.Random) -> str:
    return rng.choice(LETTERS)


def spelled_name(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return " ".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9)))
    name = rng.choice(NAMES) + (rng.choice(NAMES) if rng.random() < 0.3 else "")
    return " ".join(name)


def code(rng: random.Random) -> str:
    return " ".join(rng.choice([*LETTERS, *DIGITS]) for _ in range(rng.randint(3, 7)))


def date(rng: random.Random) -> str:
    day = rng.randint(1, 31)
    ordinal = (
        ORDINALS[day - 1]
        if day <= 20
        else "thirtieth"
        if day == 30
        else number_words(day // 10 * 10) + " " + ORDINALS[day % 10 - 1]
    )
    month = rng.choice(MONTHS)
    year = rng.choice(["", "", f" twenty {rng.choice(TEENS)}", f" twenty twenty {digit(rng)}"])
    forms = [f"{month} {ordinal}{year}", f"{rng.choice(DAYS)} {month} {ordinal}"]
    forms += [f"the {ordinal} of {month}", rng.choice(DAYS)]
    return rng.choice(forms)


def time(rng: random.Random) -> str:
    hour = number_words(rng.randint(1, 12))
    minute = rng.choice(["", " fifteen", " thirty", " forty five", f" {rng.choice(TEENS)}"])
    forms = [f"{hour}{minute} {rng.choice(['a m', 'p m'])}", f"{hour} o'clock"]
    forms += [f"half past {hour}", f"quarter to {hour}", f"quarter past {hour}"]
    return rng.choice(forms)


def number(rng: random.Random) -> str:
    return number_words(rng.randint(0, 99))


def coffee_order(rng: random.Random) -> str:
    """The carrier phrases and slots that people used in the real orders of the train split."""
    start = rng.choice(
        ["can i get", "can i have", "may i have", "i want", "i'd like", "get me", "give me"]
        + ["make me", "brew", "brew me", ""]
    )
    size = rng.choice(["", "", "small", "medium", "large"])
    ounces = rng.choice(["", "", "", "eight ounce", "twelve ounce", "sixteen ounce", "twenty ounce"])
    shots = rng.choice(["", "", "single shot", "double shot", "triple shot"])
    roast = rng.choice(["", "", "light roast", "medium roast", "dark roast"])
    iced = rng.choice(["", "", "iced"])
    drink = rng.choice("latte,cappuccino,mocha,americano,espresso,house coffee,drip coffee,coffee".split(","))
    slots = [s for s in (size or ounces, shots, roast, iced) if s]
    rng.shuffle(slots)
    article = rng.choice(["a", "a", "a", ""])
    if article and slots and slots[0][0] in "aeiou":
        article = "an"
    amount = ["", "some ", "a bit of ", "a little ", "lots of ", "a lot of "]
    extra = "milk,whole milk,skim milk,soy milk,almond milk,cream,sugar,brown sugar,sweetener"
    extras = rng.sample(extra.split(","), rng.choice([0, 1, 1, 2]))
    tail = " and ".join(rng.choice(amount) + e for e in extras)
    words = [start, article, *slots, drink, "with " + tail if tail else ""]
    return " ".join(w for w in words if w)


def command(rng: random.Random) -> str:
    device = rng.choice(_DEVICES)
    room = rng.choice(_ROOMS)
    count = number_words(rng.randint(1, 59))
    forms = [
        f"turn on the {device}",
        f"turn off the {device}",
        f"turn the {room} lights {rng.choice(['on', 'off'])}",
        f"turn {rng.choice(['up', 'down'])} the {rng.choice(['volume', 'heat', 'music'])}",
        f"set a timer for {count} {rng.choice(['minutes', 'seconds'])}",
        f"set an alarm for {time(rng)}",
        f"what time is it in {rng.choice(['london', 'paris', 'new york', 'tokyo', 'berlin'])}",
        "what time is it",
        "what is the weather like today",
        f"play {rng.choice(['some music', 'the next song', 'the news', 'jazz'])}",
        rng.choice(["stop", "pause", "next", "yes", "no", "hello", "thank you", "cancel", "help"]),
        f"call {rng.choice(NAMES)}",
        f"send a message to {rng.choice(NAMES)}",
        f"open the {rng.choice(['door', 'window', 'garage', 'calendar'])}",
        f"remind me on {rng.choice(DAYS)} at {time(rng)}",
    ]
    return rng.choice(forms)


def wake_word(rng: random.Random) -> str:
    word = rng.choice(WAKE_WORDS)
    return f"{word} {command(rng)}" if rng.random() < 0.25 else word


def spanish(rng: random.Random) -> str:
    thing = rng.choice(["el televisor", "el ventilador", "el aspirador", "el estor"])
    verb = rng.choice(["enciende", "apaga", "sube", "baja", "pon"])
    forms = [f"{verb} {thing}", thing, "ey ordenador", thing.split()[1]]
    forms += [" ".join(rng.choice(DIGITS_ES) for _ in range(rng.randint(1, 5))), "frescor"]
    forms += [f"marque {rng.choice(DIGITS_ES)} para escuchar el mensaje"]
    return rng.choice(forms)


# kind -> (generator, share of the synthetic clips)
ENGLISH: dict[str, tuple[Callable[[random.Random], str], float]] = {
    "digit": (digit, 0.10),
    "digit-string": (digit_string, 0.12),
    "phone": (phone_number, 0.07),
    "letter": (letter, 0.14),
    "name": (spelled_name, 0.12),
    "code": (code, 0.06),
    "date": (date, 0.05),
    "time": (time, 0.05),
    "number": (number, 0.04),
    "coffee": (coffee_order, 0.12),
    "command": (command, 0.08),
    "wake": (wake_word, 0.05),
}


def letters_in(words: Sequence[str]) -> list[bool]:
    """Which words are letters read by name: an "a" or "i" among words is a word."""
    found = []
    for i, word in enumerate(words):
        alone = i + 1 == len(words) or len(words[i + 1]) == 1 or words[i + 1] in DIGITS
        found.append(len(word) == 1 and word.isalpha() and (word not in "ai" or alone))
    return found


def spoken(text: str) -> str:
    """The text for a synthesiser: letters upper-case and parted by commas, so that they are read out."""
    words = text.split()
    marked = [w.upper() + "," if letter else w for w, letter in zip(words, letters_in(words), strict=True)]
    return " ".join(marked).rstrip(",")
