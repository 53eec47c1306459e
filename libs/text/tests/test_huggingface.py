# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files from elsewhere, special tokens in a user's text, and training."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from dragoman_common.errors import InvalidArgumentError
from dragoman_text import HuggingFaceTokenizer, load_tokenizer, train_huggingface

WORDS = {"<pad>": 0, "<unk>": 1, "[CLS]": 2, "[SEP]": 3, "ship": 4, "grain": 5}


def bert_like(**changes):
    """A word level file that splits at white space only, so that a text's "[SEP]" is a word of the vocabulary."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>", "<unk>", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return json.dumps(json.loads(tokenizer.to_str()) | changes).encode()


def changed_model(**changes):
    return bert_like(model=json.loads(bert_like())["model"] | changes)


NO_PAD = {"type": "WordLevel", "vocab": {"<unk>": 0, "[CLS]": 2, "[SEP]": 3, "ship": 1}, "unk_token": "<unk>"}


def template(first):
    processor = processors.TemplateProcessing(single=f"{first[0]} $A [SEP]", special_tokens=[first, ("[SEP]", 3)])
    return json.loads(processor.__getstate__())


def ids(tokenizer, text, max_tokens=16):
    return tokenizer.encode([text], max_tokens)[0].ids.tolist()


def test_template_tokens_surround_the_row():
    assert ids(load_tokenizer("huggingface", bert_like()), "ship grain") == [2, 4, 5, 3]


def test_special_token_typed_by_a_user_is_an_unknown_word():
    tokenizer = load_tokenizer("huggingface", bert_like())
    (row,) = tokenizer.encode(["ship [SEP] grain <pad> [CLS]"], 16)
    assert row.ids.tolist() == [2, 4, 1, 5, 1, 1, 3]
    assert row.num_unknown == 3


def test_special_token_is_interpreted_when_asked_for():
    tokenizer = HuggingFaceTokenizer.from_json(bert_like(), interpret_special_tokens=True)
    assert ids(tokenizer, "ship [SEP] grain") == [2, 4, 3, 5, 3]


def test_truncation_keeps_the_template():
    tokenizer = load_tokenizer("huggingface", bert_like())
    (row,) = tokenizer.encode(["ship grain ship grain"], 4)
    assert row.ids.tolist() == [2, 4, 5, 3]
    assert row.truncated


def test_row_limit_without_room_beside_the_template_is_refused():
    with pytest.raises(InvalidArgumentError, match="at least 3"):
        load_tokenizer("huggingface", bert_like()).encode(["ship"], 2)


def test_truncation_and_padding_of_the_file_do_not_change_rows():
    truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 1_000_000_000},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    tokenizer = load_tokenizer("huggingface", bert_like(truncation=truncation, padding=padding))
    assert ids(tokenizer, "ship grain ship") == [2, 4, 5, 4, 3]


def test_byte_level_file_without_unknown_token_has_no_unknown_id():
    value = json.loads(train_huggingface("bpe", ["ship"], vocabulary_size=260).to_json())
    value["model"]["unk_token"] = None
    tokenizer = load_tokenizer("huggingface", json.dumps(value).encode())
    assert tokenizer.unknown_id is None
    assert tokenizer.encode(["Ω"], 8)[0].num_unknown == 0


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bert_like(auto_map={}), "unknown keys: 'auto_map'"),
        (bert_like(chat_template="{{ x }}"), "chat_template"),
        (bert_like(model=None), "model.type"),
        (changed_model(type="Magic"), "model.type"),
        (changed_model(type=["BPE"]), "model.type"),
        (changed_model(trust_remote_code=True), "trust_remote_code"),
        (changed_model(vocab=[]), "model.vocab"),
        (changed_model(vocab={"ship": 0}), "'<pad>' has another id"),
        (bert_like(added_tokens=[], model=NO_PAD), "no padding token"),
        (bert_like(added_tokens={}), "tokenizers library"),
        (bert_like(post_processor=template(("[CLS]", 6))), "not in the vocabulary"),
        (bert_like(post_processor=template(("[CLS]", 4_000_000_000))), "not in the vocabulary"),
        (bert_like(post_processor=template(("<pad>", 0))), "adds the padding token"),
        (changed_model(vocab=WORDS | {"x": 2**31}), "ids"),
        (changed_model(vocab=WORDS | {"x": -1}), "tokenizers library"),
        (changed_model(vocab=WORDS | {"x": "y"}), "tokenizers library"),
        (changed_model(unk_token="<nope>"), "unk_token"),
        (changed_model(unk_token="<pad>"), "share an id"),
        (bert_like(post_processor=template(("[CLS]", 2)) | {"special_tokens": {}}), "no entry found"),
        (changed_model(unk_token=["<unk>"]), "unk_token|tokenizers library"),
        (bert_like(pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}}), "tokenizers library"),
        (bert_like(version="9"), "tokenizers library"),
        (bert_like(padding={"pad_token": ["x"]}), "tokenizers library|padding"),
    ],
)
def test_file_that_is_not_what_it_should_be_is_refused(data, text):
    with pytest.raises(InvalidArgumentError, match=text):
        load_tokenizer("huggingface", data)


def test_wordpiece_words_of_unbounded_length_are_refused():
    value = json.loads(train_huggingface("wordpiece", ["ship"], vocabulary_size=60).to_json())
    value["model"]["max_input_chars_per_word"] = 1_000_000
    with pytest.raises(InvalidArgumentError, match="max_input_chars_per_word"):
        load_tokenizer("huggingface", json.dumps(value).encode())


def test_dropout_is_refused_because_encodings_would_be_random():
    value = json.loads(train_huggingface("bpe", ["ship"], vocabulary_size=260).to_json())
    value["model"]["dropout"] = 0.1
    with pytest.raises(InvalidArgumentError, match="dropout"):
        load_tokenizer("huggingface", json.dumps(value).encode())


def test_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(InvalidArgumentError, match="basic_english, huggingface"):
        load_tokenizer("pickle", b"")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "wordlevel"])
def test_training_twice_gives_the_same_bytes(kind):
    texts = [f"word{i % 37} word{i % 11} ship grain {i}" for i in range(300)]
    assert (
        train_huggingface(kind, texts, vocabulary_size=400).to_json()
        == train_huggingface(kind, iter(texts), vocabulary_size=400).to_json()
    )


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "wordlevel"])
def test_trained_vocabulary_keeps_to_its_size_with_pad_0_and_unknown_1(kind):
    tokenizer = train_huggingface(kind, [f"word{i} ship" for i in range(500)], vocabulary_size=280)
    assert tokenizer.vocabulary_size <= 280
    assert (tokenizer.pad_id, tokenizer.unknown_id) == (0, 1)


def test_lower_case_is_a_choice():
    texts = ["Ship ship"]
    folded = train_huggingface("wordlevel", texts, vocabulary_size=10)
    kept = train_huggingface("wordlevel", texts, vocabulary_size=10, lowercase=False)
    assert folded.vocabulary_size == 3
    assert kept.vocabulary_size == 4


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "sentencepiece", "vocabulary_size": 300},
        {"kind": "bpe", "vocabulary_size": 257},
        {"kind": "wordlevel", "vocabulary_size": 2},
        {"kind": "wordlevel", "vocabulary_size": 2_000_001},
        {"kind": "wordlevel", "vocabulary_size": 10, "min_frequency": 0},
    ],
)
def test_training_refuses_arguments_out_of_range(arguments):
    with pytest.raises(InvalidArgumentError):
        train_huggingface(texts=["a"], **arguments)


def test_wordpiece_refuses_a_size_below_the_alphabet_of_the_texts():
    with pytest.raises(InvalidArgumentError, match="characters of these texts"):
        train_huggingface("wordpiece", ["abcdefghijklmnopqrstuvwxyz"], vocabulary_size=20)
