"""A user's tokenizer.json for each task."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from export.user_module.wrap.tokenizer import start_id_of, wrapped_tokenizer
from models.errors import TokenizerError
from models.tasks import TaskName
from tests.models.test_tokenizer_kind import byte_bpe, characters, pieces, word_piece


def saved(folder: Path, backend: Backend) -> Path:
    path = folder / "tokenizer.json"
    backend.save(str(path))
    return path


@pytest.mark.parametrize("make", [word_piece, pieces])
def test_any_kind_reads_for_a_classifier_and_keeps_its_marks(tmp_path: Path, make: type) -> None:
    path = saved(tmp_path, make())
    tokenizer = wrapped_tokenizer(path, "sentiment", None, None)
    assert tokenizer.encode("the film") == Backend.from_file(str(path)).encode("the film").ids


@pytest.mark.parametrize("task", ["generation", "translation"])
@pytest.mark.parametrize(("make", "says"), [(word_piece, "BertNormalizer"), (pieces, "Unigram")])
def test_for_a_model_that_writes_they_are_refused_with_the_reason(
    tmp_path: Path, make: type, says: str, task: TaskName
) -> None:
    with pytest.raises(TokenizerError, match=rf"{says}.* A model for {task} writes text token by token"):
        wrapped_tokenizer(saved(tmp_path, make()), task, None, None)


def test_lower_case_is_refused_for_a_model_that_writes(tmp_path: Path) -> None:
    backend = byte_bpe()
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    with pytest.raises(TokenizerError, match="reads everything in lower case"):
        wrapped_tokenizer(saved(tmp_path, backend), "generation", None, None)


def test_marks_after_a_text_are_refused_and_shown(tmp_path: Path) -> None:
    backend = byte_bpe()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    with pytest.raises(TokenizerError, match=r"adds marks after a text \(\S+ </s>\)"):
        wrapped_tokenizer(saved(tmp_path, backend), "generation", "</s>", None)


def test_an_end_token_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"has no token '<end>'.*Special tokens: <pad>, <s>, </s>"):
        wrapped_tokenizer(saved(tmp_path, byte_bpe()), "generation", "<end>", None)


def test_a_start_token_is_found_or_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, byte_bpe())
    tokenizer = wrapped_tokenizer(path, "translation", "</s>", "<s>")
    assert (tokenizer.end_id, start_id_of(tokenizer, path, "<s>"), start_id_of(tokenizer, path, "</s>")) == (2, 1, None)
    with pytest.raises(TokenizerError, match="has no token '<go>' for --start-token"):
        wrapped_tokenizer(path, "translation", "</s>", "<go>")


def test_tokens_that_the_flags_name_are_marks(tmp_path: Path) -> None:
    tokens = ["<s>", "</s>", *"abc"]
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(tokens)}))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    path = saved(tmp_path, backend)
    tokenizer = wrapped_tokenizer(path, "translation", "</s>", "<s>")
    assert (tokenizer.end_id, start_id_of(tokenizer, path, "<s>"), tokenizer.kind) == (1, 0, "character")
    with pytest.raises(
        TokenizerError, match=r"token '<s>' has several .* say so: tokenizer\.add_special_tokens\(\['<s"
    ):
        wrapped_tokenizer(path, "translation", "</s>", None)


def test_a_mark_that_is_no_special_token_is_one_where_a_flag_names_it(tmp_path: Path) -> None:
    backend = byte_bpe()
    backend.add_tokens(["<go>", "<stop>"])
    tokenizer = wrapped_tokenizer(saved(tmp_path, backend), "translation", "<stop>", "<go>")
    typed = tokenizer.encode("a<go>b<stop>")
    assert not {backend.token_to_id(mark) for mark in ("<go>", "<stop>")} & set(typed)
    assert tokenizer.decode(typed) == "a<go>b<stop>"


def test_a_character_tokenizer_without_unknown_is_taken(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({token: i for i, token in enumerate("\nbc")}))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer = wrapped_tokenizer(saved(tmp_path, backend), "generation", "\n", None)
    assert (tokenizer.encode("abc\n"), tokenizer.num_unknown("abc\n", [1, 2, 0])) == ([1, 2, 0], 1)


def test_a_text_that_does_not_come_back_is_shown(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="does not give a text back"):
        wrapped_tokenizer(saved(tmp_path, characters(r"\w+")), "generation", "</s>", None)


def test_an_id_without_a_token_is_refused(tmp_path: Path) -> None:
    plain = json.loads(characters("").to_str())
    plain["model"]["vocab"]["a"] = 99
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(TokenizerError, match="none with id"):
        wrapped_tokenizer(path, "generation", "</s>", None)


def test_no_file_and_no_tokenizer_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"No tokenizer at .*absent\.json\. Write it: tokenizer\.save"):
        wrapped_tokenizer(tmp_path / "absent.json", "generation", None, None)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(
        TokenizerError, match=r"bad\.json is not a tokenizer\.json.* beside it: tokenizer\.save\('.*/tokenizer\.json'"
    ):
        wrapped_tokenizer(tmp_path / "bad.json", "generation", None, None)


def test_byte_level_bpe_without_some_bytes_writes_what_it_knows(tmp_path: Path) -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(["the film"], trainers.BpeTrainer(special_tokens=["</s>"], show_progress=False))
    tokenizer = wrapped_tokenizer(saved(tmp_path, backend), "generation", "</s>", None)
    assert tokenizer.kind == "byte-bpe"
    assert tokenizer.decode(tokenizer.encode("the fox film")) == "the f film"
