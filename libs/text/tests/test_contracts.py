# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Tokenizer contract, held by every backend and every kind of it."""

from tokenizers import Tokenizer, processors

from dragoman_text import BasicEnglishTokenizer, load_tokenizer, train_huggingface
from dragoman_text.contracts import TokenizerContract

TEXTS = ["the cat sat on the mat", "the dog sat on the cat", "the mat"] * 3


class TestBasicEnglish(TokenizerContract):
    def make_tokenizer(self):
        return BasicEnglishTokenizer.build(TEXTS)

    def load(self, data):
        return load_tokenizer("basic_english", data)


class HuggingFaceContract(TokenizerContract):
    __test__ = False

    def load(self, data):
        return load_tokenizer("huggingface", data)


class TestBpe(HuggingFaceContract):
    __test__ = True

    def make_tokenizer(self):
        return train_huggingface("bpe", TEXTS, vocabulary_size=300)


class TestWordPiece(HuggingFaceContract):
    __test__ = True

    def make_tokenizer(self):
        return train_huggingface("wordpiece", TEXTS, vocabulary_size=100)


class TestWordLevel(HuggingFaceContract):
    __test__ = True

    def make_tokenizer(self):
        return train_huggingface("wordlevel", TEXTS, vocabulary_size=100)


class TestWithATemplate(HuggingFaceContract):
    """A row with tokens of the model's own around it, as BERT's."""

    __test__ = True

    def make_tokenizer(self):
        inner = Tokenizer.from_str(train_huggingface("wordpiece", TEXTS, vocabulary_size=100).to_json().decode())
        inner.add_special_tokens(["[CLS]", "[SEP]"])
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[(name, inner.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
        )
        return load_tokenizer("huggingface", inner.to_str().encode())
