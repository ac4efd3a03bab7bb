"""Which language a text is in: by its script first, then, where several languages share the script, by py3langid.

The tables of py3langid take about 80 MB and a second to load, so they are loaded when they are first needed.
"""

import re
import threading
from collections.abc import Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LETTERS = {
    "Latin": "A-Za-zªºÀ-ÖØ-öø-ʯḀ-ỿﬀ-ﬆ",
    "Han": "々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
    "Kana": "ぁ-ゖァ-ヺㇰ-ㇿｦ-ﾝー",
    "Hangul": "ᄀ-ᇿㄱ-ㆎ가-힣",
    "Cyrillic": "Ѐ-ԯ",
    "Greek": "Ͱ-Ͽἀ-῾",
    "Arabic": "ؠ-ي٠-ۓݐ-ݿࢠ-ࣿﭐ-ﻼ",
    "Hebrew": "א-ת",
    "Devanagari": "ऄ-हॐ-ॿ",
    "Bengali": "অ-হৎ-ৣ",
    "Tamil": "அ-ஹ",
    "Thai": "ก-ะเ-ๆ",
    "Armenian": "Ա-ֈ",
    "Georgian": "Ⴀ-ჿ",
}
_OF_SCRIPT = {script: re.compile(f"[{letters}]") for script, letters in _LETTERS.items()}
_ANY_LETTER = re.compile(r"[^\W\d_]")
OTHER = "another script"
_WEIGHTS = {"Han": 3, "Kana": 2, "Hangul": 2}  # a character of these says as much as so many others

_COMMON = (
    "en de fr es it pt nl pl ro sv da no fi cs hu tr id vi ca hr sk sl et lv lt eo la tl sw sq is eu gl"  # Latin script
)
# The languages that a text in a script is taken for, of those that py3langid knows: of rarer ones, short texts of the
# others would be taken for them.
_WRITTEN_IN: dict[str, tuple[str, ...]] = {
    "Latin": tuple(_COMMON.split()),
    "Han": ("zh",),
    "Kana": ("ja",),
    "Hangul": ("ko",),
    "Cyrillic": ("ru", "uk", "bg", "sr", "mk", "be", "kk"),
    "Greek": ("el",),
    "Arabic": ("ar", "fa", "ur"),
    "Hebrew": ("he",),
    "Devanagari": ("hi", "mr", "ne"),
    "Bengali": ("bn",),
    "Tamil": ("ta",),
    "Thai": ("th",),
    "Armenian": ("hy",),
    "Georgian": ("ka",),
}
_SCRIPTS = {code: frozenset({script}) for script, codes in _WRITTEN_IN.items() for code in codes} | {
    "ja": frozenset({"Kana", "Han"}),
    "ko": frozenset({"Hangul", "Han"}),
    "sr": frozenset({"Cyrillic", "Latin"}),
}
_NAMES = {
    "ar": "Arabic", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "eo": "Esperanto", "es": "Spanish",
    "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French", "gl": "Galician",
    "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh", "ko": "Korean",
    "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "mr": "Marathi", "ne": "Nepali",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili",
    "ta": "Tamil", "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
WITHOUT_SPACES = frozenset({"zh", "ja", "th"})  # languages that write no spaces between words and sentences
_CODE = re.compile(r"[A-Za-z]{2}(?:[-_][A-Za-z0-9]{2,8})*")
_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
_LONG = 1000  # characters of a text that are looked at
_SURE = 0.8  # from this confidence on another language than the expected one is believed
_lock = threading.Lock()


class Detected(NamedTuple):
    """A text's language.

    Attributes:
        language: ISO 639-1.
        confidence: 0 to 1.
    """

    language: str
    confidence: float


def language_code(value: str) -> str:
    """A language's code as models have it: "en" of "EN" and "en-US", "zh" of "zh-CN" and "zh_Hans".

    Chinese in traditional characters stays apart ("zh-Hant"), because it is not what a model of "zh" reads and writes.

    Raises:
        ValueError: it is not of this form.
    """
    if not _CODE.fullmatch(value):
        raise ValueError(
            "must be a language code of two letters (ISO 639-1) such as en, or with a region such as en-US"
        )
    language, *others = re.split("[-_]", value.lower())
    return "zh-Hant" if language == "zh" and _TRADITIONAL.intersection(others) else language


def _code_from(value: Any) -> Any:
    return language_code(value) if isinstance(value, str) else value


Code = Annotated[  # as `language_code` gives it
    str, BeforeValidator(_code_from), WithJsonSchema({"type": "string", "pattern": f"^{_CODE.pattern}$"})
]


def name_of(language: str) -> str:
    """The English name of a language; its code where there is none here."""
    return _NAMES.get(language, language)


def scripts_of(language: str) -> frozenset[str]:
    """The scripts that a language is written in; Latin where that is not known."""
    return _SCRIPTS.get(language, frozenset({"Latin"}))


def foreign_letters(language: str) -> str:
    """The letters of all scripts that a language is not written in, for a class of a regular expression."""
    own = scripts_of(language)
    return "".join(letters for script, letters in _LETTERS.items() if script not in own)


def letters_by_script(text: str) -> dict[str, int]:
    """How many letters of each script a text has; scripts without any are left out."""
    counts = {script: len(letter.findall(text)) for script, letter in _OF_SCRIPT.items()}
    counts[OTHER] = len(_ANY_LETTER.findall(text)) - sum(counts.values())
    return {script: count for script, count in counts.items() if count > 0}


def main_script(text: str) -> str | None:
    """The script that most of a text is in; None where it has no letter."""
    text = text[:_LONG]
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else None
    counts = letters_by_script(text)
    if not counts:
        return None
    if counts.get("Kana", 0) * 10 >= counts.get("Han", 0) and "Kana" in counts:
        counts["Kana"] += counts.pop("Han", 0)
    return max(counts, key=lambda script: counts[script] * _WEIGHTS.get(script, 1))


def detect(text: str, served: Collection[str] = ()) -> Detected | None:
    """The language of a text.

    Args:
        text: only its beginning is looked at.
        served: languages that the answer is most likely one of: another one must be certain.

    Returns:
        None where the text has no letter, or is in a script that is not known here.
    """
    script = main_script(text)
    if script is None or script not in _WRITTEN_IN:
        return None
    own = [code for code in served if script in scripts_of(code)]
    candidates = {*_WRITTEN_IN[script], *own}
    if len(candidates) == 1:
        return Detected(candidates.pop(), 1.0)
    best = _ranked(text, candidates)
    if own and best.language not in own and best.confidence < _SURE:
        return _ranked(text, own)
    return best


def mismatch(text: str, language: str) -> Detected | None:
    """What a text's language is where that is certainly not the expected one; None otherwise."""
    script = main_script(text)
    if script is None:
        return None
    found = detect(text, (language,))
    if script not in scripts_of(language):
        return found or Detected("und", 0.0)
    return found if found is not None and found.language != language and found.confidence >= _SURE else None


def _ranked(text: str, candidates: Iterable[str]) -> Detected:
    """The likeliest of some languages."""
    known = dict(_identify(text[:_LONG]))
    among = {code: known.get(code, 0.0) for code in candidates}
    total = sum(among.values())
    best = max(among, key=lambda code: (among[code], code == "en"))
    return Detected(best, among[best] / total if total else 0.0)


def _identify(text: str) -> list[tuple[str, float]]:
    """All of py3langid's languages with their probabilities."""
    found: list[tuple[str, float]] = _identifier().rank(text)
    return found


def is_loaded() -> bool:
    """Whether py3langid's tables are there; loading them takes a second."""
    return _loaded.cache_info().currsize > 0


def _identifier() -> "LanguageIdentifier":
    with _lock:
        return _loaded()


@cache
def _loaded() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
