import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decoding.beam_search import Hypothesis
from models.decoding.detokenizer import TokenTexts
from server.text.markup import Stretch, parts_of
from server.text.passage import Passage, Reader
from tests.server.running import BYTES

READER = Reader(BYTES, TokenTexts(BYTES.token_bytes), "en", "fr", 128, False, None)


def copied(document: str) -> str:
    """A document translated by a model that copies: each token of the source attends to itself."""
    written = []
    for part in parts_of(document):
        if isinstance(part, str):
            written.append(part)
            continue
        passage = Passage(part.text, READER, edges=part.edges)
        for number, sentence in enumerate(passage.sentences):
            written.append(passage.gap(number))
            attention = np.eye(len(sentence.ids) + 1, dtype=np.float32)
            found = Hypothesis(sentence.ids, -1.0, "stop", attention)
            written.append(passage.rendered(sentence, found).text if sentence.read else passage.copied(sentence))
        written.append(passage.gap(len(passage.sentences)))
    return "".join(written)


@pytest.mark.parametrize(
    "document",
    [
        '<p class="a">Hello <b>big</b> world. This is <a href=\'x?a=1&b=2\' title="a > b">a <i>nice</i> link</a>.</p>',
        "<ul>\n <li>One</li>\n <li>Two <b>three</b></li>\n</ul>",
        "Fish &amp; chips <!-- a > b --> &lt; 5. Good.",
        "<b>One. Two <i>three</i>.</b> <u>Four</u> five!",
        "Use <code>a &lt; b</code> now. Is <i translate=\"no\">R <b>S</b></i> or <em class='notranslate'>it</em> me?",
        "<script>if (a < b) { x = '</p>'; }</script><style>p > a {}</style><pre>keep  this</pre>text",
        "A line<br>and <img src='x.png' alt=\"y\"> one more<br/>x",
        'See <a href="https://x.org">https://x.org</a>, <b>it is 😀 good</b> (<i>anna@x.org</i>).',
        "<table><tr><td>a</td><td>b c</td></tr></table><custom-x>d</custom-x>",
        "<b></b>x<i></i> <p><p></b>y <I>z</I>",
    ],
)
def test_a_document_that_is_copied_is_the_same(document: str) -> None:
    assert copied(document) == document


@given(
    st.text(st.sampled_from("ab. <>/&;\"'=!-1"))
    | st.lists(
        st.sampled_from(
            ["<b>", "</b>", "<i x='>'>", "</i>", "<p>", "</p>", "<br>", "One. ", "two", " ", "<code>", "</code>", "😀"]
        )
    ).map("".join)
)
def test_every_tag_stays_in_its_order(document: str) -> None:
    parts = parts_of(document)
    assert "".join(part.raw if isinstance(part, Stretch) else part for part in parts) == document
    tags = re.findall(r"</?[bip][^a-z]", document)
    assert re.findall(r"</?[bip][^a-z]", copied(document)) == tags


def test_a_tag_goes_where_its_words_go() -> None:
    """The model turns the words around: what the tag is around turns, too."""
    (part,) = parts_of("to <b>be</b>")
    assert isinstance(part, Stretch)
    passage = Passage(part.text, READER, edges=part.edges)
    (sentence,) = passage.sentences
    places = list(range(len(sentence.ids)))
    first = next(i for i, piece in enumerate(sentence.pieces) if piece.startswith(" "))
    order = places[first:] + places[:first]
    attention = np.eye(len(places) + 1, dtype=np.float32)[[*order, len(places)]]
    found = Hypothesis([sentence.ids[place] for place in order], -1.0, "stop", attention)
    assert passage.rendered(sentence, found).text == " <b>be</b>to"


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> str:
    """Words, sentences and elements within each other, each element with a number of its own."""
    words = st.sampled_from(["One", " ", " two", " the", ". ", "! ", ", ", "😀", "<br>", " https://x.org "])
    parts = draw(st.lists(words | documents(depth + 1) if depth < 3 else words, max_size=5))
    name = draw(st.sampled_from(["a", "b", "i"]))
    return "".join(parts) if not depth else f"<{name} #>{''.join(parts)}</{name}>"


@given(documents(), st.integers(0, 2**32 - 1), st.sampled_from(["ab", "a. ", "a bc, d e. ", "it is a long one, yes. "]))
def test_no_element_is_empty_and_tags_are_balanced_whatever_attends_to_what(
    document: str, seed: int, target: str
) -> None:
    for number in range(document.count(" #>")):
        document = document.replace(" #>", f" id={number}>", 1)
    generator = np.random.default_rng(seed)
    written = []
    for part in parts_of(document):
        if isinstance(part, str):
            written.append(part)
            continue
        passage = Passage(part.text, READER, edges=part.edges)
        for sentence in passage.sentences:
            ids = BYTES.encode(target)
            attention = generator.dirichlet(np.full(len(sentence.ids) + 1, 0.1), len(ids) + 1).astype(np.float32)
            found = Hypothesis(ids, -1.0, "stop", attention)
            written.append(passage.rendered(sentence, found).text if sentence.read else passage.copied(sentence))
    translation = "".join(written)
    assert sorted(re.findall("<[^>]*>", translation)) == sorted(re.findall("<[^>]*>", document))
    assert texts_of_elements(translation).keys() == texts_of_elements(document).keys()
    lost = {number for number, text in texts_of_elements(translation).items() if not text.strip()}
    assert not [text for number, text in texts_of_elements(document).items() if number in lost and text.strip()]


def texts_of_elements(document: str) -> dict[str, str]:
    """Of each element, by its number, the text in it; its tags must be balanced."""
    texts: dict[str, str] = {}
    waiting: list[tuple[str, str]] = []
    for tag, name, number, text in re.findall(r"<(/?)([abi])(?: id=(\d+))?>|([^<]+)|<br>", document):
        if text:
            for _, other in waiting:
                texts[other] += text
        elif name and tag:
            assert waiting.pop()[0] == name
        elif name:
            waiting.append((name, number))
            texts[number] = ""
    assert not waiting
    return texts


def test_an_element_whose_words_went_before_an_other_s_goes_before_it() -> None:
    """The model turns two words around: their elements turn with them."""
    (part,) = parts_of("<b>to</b> <i>be</i>")
    assert isinstance(part, Stretch)
    passage = Passage(part.text, READER, edges=part.edges)
    (sentence,) = passage.sentences
    places = list(range(len(sentence.ids)))
    first = next(i for i, piece in enumerate(sentence.pieces) if piece.startswith(" "))
    order = places[first:] + places[:first]
    attention = np.eye(len(places) + 1, dtype=np.float32)[[*order, len(places)]]
    found = Hypothesis([sentence.ids[place] for place in order], -1.0, "stop", attention)
    assert passage.rendered(sentence, found).text == " <i>be</i><b>to</b>"


def test_hostile_documents_take_no_longer_than_others() -> None:
    for start in ("<!--", "<a ", "</", "<!", "<a b='", "<script>", "<a", "<", "<b>", "<i>x</b>", "<code>", "&#"):
        document = start * (60_000 // len(start))
        started = time.perf_counter()
        parts_of(document)
        assert time.perf_counter() - started < 5, start  # 0.3 s on an idle machine
