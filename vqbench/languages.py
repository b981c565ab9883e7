"""Languages: their codes, which of them Whisper knows, and which are written without spaces between words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vqbench.errors import DataError, did_you_mean

ENGLISH = "en"
"""What is assumed where nobody names a language; where that is done, a run says so."""

_NAMES = """
    aa Afar; ab Abkhazian; ae Avestan; af Afrikaans; ak Akan; am Amharic; an Aragonese; ar Arabic; as Assamese;
    av Avaric; ay Aymara; az Azerbaijani; ba Bashkir; be Belarusian; bg Bulgarian; bi Bislama; bm Bambara;
    bn Bengali; bo Tibetan; br Breton; bs Bosnian; ca Catalan; ce Chechen; ch Chamorro; co Corsican; cr Cree;
    cs Czech; cu Church Slavonic; cv Chuvash; cy Welsh; da Danish; de German; dv Divehi; dz Dzongkha; ee Ewe;
    el Greek; en English; eo Esperanto; es Spanish; et Estonian; eu Basque; fa Persian; ff Fulah; fi Finnish;
    fj Fijian; fo Faroese; fr French; fy Western Frisian; ga Irish; gd Scottish Gaelic; gl Galician; gn Guarani;
    gu Gujarati; gv Manx; ha Hausa; he Hebrew; hi Hindi; ho Hiri Motu; hr Croatian; ht Haitian; hu Hungarian;
    hy Armenian; hz Herero; ia Interlingua; id Indonesian; ie Interlingue; ig Igbo; ii Sichuan Yi; ik Inupiaq;
    io Ido; is Icelandic; it Italian; iu Inuktitut; ja Japanese; jv Javanese; ka Georgian; kg Kongo; ki Kikuyu;
    kj Kuanyama; kk Kazakh; kl Kalaallisut; km Khmer; kn Kannada; ko Korean; kr Kanuri; ks Kashmiri; ku Kurdish;
    kv Komi; kw Cornish; ky Kyrgyz; la Latin; lb Luxembourgish; lg Ganda; li Limburgish; ln Lingala; lo Lao;
    lt Lithuanian; lu Luba-Katanga; lv Latvian; mg Malagasy; mh Marshallese; mi Maori; mk Macedonian;
    ml Malayalam; mn Mongolian; mr Marathi; ms Malay; mt Maltese; my Burmese; na Nauru; nb Norwegian Bokmål;
    nd North Ndebele; ne Nepali; ng Ndonga; nl Dutch; nn Norwegian Nynorsk; no Norwegian; nr South Ndebele;
    nv Navajo; ny Chichewa; oc Occitan; oj Ojibwa; om Oromo; or Odia; os Ossetian; pa Punjabi; pi Pali;
    pl Polish; ps Pashto; pt Portuguese; qu Quechua; rm Romansh; rn Rundi; ro Romanian; ru Russian;
    rw Kinyarwanda; sa Sanskrit; sc Sardinian; sd Sindhi; se Northern Sami; sg Sango; si Sinhala; sk Slovak;
    sl Slovenian; sm Samoan; sn Shona; so Somali; sq Albanian; sr Serbian; ss Swati; st Southern Sotho;
    su Sundanese; sv Swedish; sw Swahili; ta Tamil; te Telugu; tg Tajik; th Thai; ti Tigrinya; tk Turkmen;
    tl Tagalog; tn Tswana; to Tonga; tr Turkish; ts Tsonga; tt Tatar; tw Twi; ty Tahitian; ug Uyghur;
    uk Ukrainian; ur Urdu; uz Uzbek; ve Venda; vi Vietnamese; vo Volapük; wa Walloon; wo Wolof; xh Xhosa;
    yi Yiddish; yo Yoruba; za Zhuang; zh Chinese; zu Zulu; haw Hawaiian; yue Cantonese;
"""

_KNOWN_TO_WHISPER = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha he hi hr ht hu hy id
    is it ja jv ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my nb ne nl nn no oc pa pl ps pt ro ru
    sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh haw yue
"""

_CALLED_BY_WHISPER = {"jv": "jw", "nb": "no"}
"""Codes that Whisper writes otherwise: an older code, and one for both kinds of Norwegian."""

_WITHOUT_SPACES = "zh ja th yue lo my km"


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        code: of ISO 639-1; of ISO 639-3 for the two that Whisper knows and ISO 639-1 does not, `haw` and `yue`.
        name: in English.
        whisper: how a multilingual Whisper is told it; None where no Whisper knows it.
        has_spaces: whether words are written apart. Where not, characters are counted instead of words.
    """

    code: str
    name: str
    whisper: str | None
    has_spaces: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


def _read() -> dict[str, Language]:
    known, joined = _KNOWN_TO_WHISPER.split(), _WITHOUT_SPACES.split()
    named = (entry.split(maxsplit=1) for entry in _NAMES.split(";") if entry.strip())
    return {
        code: Language(
            code,
            " ".join(name.split()),
            _CALLED_BY_WHISPER.get(code, code) if code in known else None,
            code not in joined,
        )
        for code, name in named
    }


LANGUAGES: Mapping[str, Language] = _read()
"""Code → language: all of ISO 639-1, Hawaiian and Cantonese."""


def language_of(code: str | None) -> Language:
    """The language of a code; English for None.

    Raises:
        DataError: there is no such code.

    >>> str(language_of("vi")), language_of("vi").has_spaces, language_of("th").has_spaces
    ('Vietnamese (vi)', True, False)
    >>> language_of("german")
    Traceback (most recent call last):
    vqbench.errors.DataError: there is no language 'german' (did you mean 'de'?)
      expected: an ISO 639-1 code such as en, vi or zh, or yue
    """
    code = ENGLISH if code is None else code
    if code not in LANGUAGES:
        written = code.lower().replace("_", "-")
        by_name = {language.name.lower(): language.code for language in LANGUAGES.values()}
        # `pt-BR` and `Portuguese` mean what they say; anything else may be a slip.
        meant = by_name.get(written) or (written.partition("-")[0] if "-" in written else "")
        near = f" (did you mean {meant!r}?)" if meant in LANGUAGES else did_you_mean(written, LANGUAGES)
        raise DataError(
            f"there is no language {code!r}{near}", expected="an ISO 639-1 code such as en, vi or zh, or yue"
        )
    return LANGUAGES[code]


def listed(codes: Iterable[str]) -> str:
    """Languages by their names, in the order of their codes.

    >>> listed(["vi", "de"])
    'German (de), Vietnamese (vi)'
    """
    return ", ".join(str(language_of(code)) for code in sorted(codes))
