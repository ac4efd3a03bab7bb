import asyncio

import pytest

from server.errors import FieldError
from server.prompts import read_prompts
from tests.server.running import BYTES, CHARACTERS


def test_the_character_bound_never_refuses_what_the_token_limit_allows() -> None:
    # Three code points that NFC makes one character, so one token: the tightest case of the bound.
    text = "\N{GREEK SMALL LETTER ALPHA}\N{COMBINING COMMA ABOVE}\N{COMBINING GREEK YPOGEGRAMMENI}" * 10 + "a"
    (prompt,) = asyncio.run(read_prompts([text], CHARACTERS, 11))
    assert len(prompt.ids) == 11
    assert prompt.num_unknown == 10


def test_long_and_short_texts_are_read_alike() -> None:
    short = asyncio.run(read_prompts(["to be"], BYTES, 100))
    long = asyncio.run(read_prompts(["to be", "x" * 5000], BYTES, 5000))
    assert long[0] == short[0]


def test_the_limit_is_on_each_prompt() -> None:
    asyncio.run(read_prompts(["abc"] * 5, CHARACTERS, 3))
    with pytest.raises(FieldError, match="prompt 1 has 4 tokens; at most 3"):
        asyncio.run(read_prompts(["abc", "abcd"], CHARACTERS, 3))
