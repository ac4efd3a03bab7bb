import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.text.split import Span, cut, sentences

MARKED = {
    "en": [
        "[I saw Mrs. Jones and Prof. Lee.] [It has approx. 5 items.] [On Jan. 5 we left.] [He has a Ph.D. in math.]",
        "[What?!] [No way!!] [OK.]",
        "[He left at 5 p.m.] [She stayed.] [The temp. is low.] [I like cats, dogs, etc.] [They like me.]",
        "[(He left.)] [She stayed.] [[Note it.]] [Then go…] [Good.]".replace("[[", "[").replace("]]", "]"),
        '["Stop!" Tom cried.] [He said: "I am here. You are there."] [Then he left.]',
        "[Visit example.com.] [It’s 3.14.] [iPhone is good.] [e.g. this one.]",
        "1. [Buy milk.]\n2. [Call Anna.]\n  - [one]\n\t* [two]\n• [three]\n(a) [four]\niv. [five]\n2.1. [six]",
        "> [a quotation]\n# [A heading]\n- [ ] [to do]".replace("- [ ] ", "- "),
        "[Hi Tom,]\n[thanks.] [Best,]\r\n[Anna]\u2028[PS]",
        "[This line is long and was wrapped by somebody's editor\nbefore its end.]\n[A short line\nis not.]".replace(
            "line\nis", "line]\n[is"
        ),
    ],
    "fr": [
        "[M. Dupont est arrivé.] [Mme Curie l'attendait.] [MM. Blanc et Noir sont partis.]",
        "[« Bonjour ! » dit-il.] [Il dit : « Je viens. Tu pars. »] [Elle part.]",
        "[Le Dr. Martin a vu M. et Mme Blanc.] [J. Dupont habite l'av. Foch.] [Ça va ?] [Oui…] [Non !]",
        "[Voir p. 5 et fig. 3.] [Il est 10 h.] [Le prof. Tournesol dort.] [J.-C. est né.]",
        "[Il habite à St. Malo.] [Elle a env. 30 ans.] [Peut-être…]  [Fin.]",
    ],
    "zh": [
        "[今天天气很好。][我们去公园吧！][你去吗？]",
        "[“好的。”他说。][她笑了。]",
        "[他说：“我来了。你呢？”][她笑了。][（真的吗？）][是的。]",
        "[他走了……然后回来了。][价格是3.5元。][第1.5章。][U.S.A.是美国。]",
        "一、[吃饭]\n（二）[睡觉]\n1.[起床]\n① [出门]",
        "[好吗?] [好!] [行。]",
    ],
}


@pytest.mark.parametrize(("language", "marked"), [(code, text) for code, texts in MARKED.items() for text in texts])
def test_sentences_are_found(language: str, marked: str) -> None:
    text = re.sub(r"[\[\]]", "", marked)
    expected = re.findall(r"\[(.*?)\]", marked, re.DOTALL)
    assert [text[start:end] for start, end in sentences(text, language)] == expected


@given(
    st.text(st.sampled_from("aB1.!?…。！\"'”()（）- \n\r、,:M一二é"), max_size=80),
    st.sampled_from(["en", "fr", "zh", "xx"]),
)
def test_nothing_but_white_space_and_markers_is_outside_of_the_sentences(text: str, language: str) -> None:
    found = sentences(text, language)
    outside, end = [], 0
    for span in found:
        assert end <= span.start < span.end
        assert text[span.start : span.end] == text[span.start : span.end].strip()
        outside.append(text[end : span.start])
        end = span.end
    outside.append(text[end:])
    for part in outside:
        assert re.fullmatch(r"(?:[-–—·>#*+•\s]|[（(]?(?:[\d.]{1,9}|[a-zA-ZMB]|[一二]{1,3})[.)）、]?)*", part), part


def test_a_long_sentence_is_cut_at_clauses_then_between_words_then_anywhere() -> None:
    text = "The committee decided that the plan was good, because the town needed a bridge and the old one was falling"
    parts = cut(text, Span(0, len(text)), lambda part: len(part) <= 50)
    assert [text[start:end] for start, end in parts] == [
        "The committee decided that the plan was good,",
        "because the town needed a bridge",
        "and the old one was falling",
    ]
    for text, most in (("word " * 40 + "end", 30), ("x" * 100, 7), ("字" * 50, 9)):
        parts = cut(text, Span(0, len(text)), lambda part, most=most: len(part) <= most)  # type: ignore[misc]
        assert all(end - start <= most for start, end in parts)
        assert "".join(text[start:end] for start, end in parts).replace(" ", "") == text.replace(" ", "")


def test_hostile_texts_take_no_longer_than_others() -> None:
    for text in ("“a。", "a. ", "\n- ", "(1) ", "M. ", '"', "a,", "说。”", "1.", "J.-"):
        started = time.perf_counter()
        sentences(text * (60_000 // len(text)), "fr")
        assert time.perf_counter() - started < 5, text  # 0.3 s on an idle machine
