# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A folder that the transformers library saved, published by the command and served: its scores are that library's."""

import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from tests.integration.installation import CommandFailedError

LABELS = ("sport", "business", "tech")
WORDS = ("the", "team", "won", "oil", "price", "rose", "chip", "##s", "cheap", ".")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TEXTS = ["The team won.", "oil prices rose", "cheap chips", "the " * 300, "an unknown word"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("huggingface")
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **dict(zip(names, SPECIAL, strict=True))
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    transformers.BertForSequenceClassification._from_config(config).save_pretrained(folder)
    return folder


def test_published_folder_is_served_with_the_library_s_scores(installation, folder, tmp_path):
    installed = installation
    published = installed.json("publish", str(folder), "--model", "imported")
    number = published["version"]["number"]
    assert published["version"]["architecture"] == "transformer"
    assert published["converted"]["family"] == "bert"
    with pytest.raises(CommandFailedError, match="evaluation"):
        installed.run("alias", "imported", "prod", str(number), "--reason", "no evaluation came with it")
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps({"rules": [{"alias": "prod", "quality": "none"}]}))
    installed.run("policy", "set", "imported", str(policy), "--reason", "imported models bring no evaluation")
    installed.serve("imported", number)
    classify = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    expected = [
        [next(a["score"] for a in answer if a["label"] == label) for label in LABELS]
        for answer in classify(TEXTS, top_k=None, truncation=True, batch_size=len(TEXTS))
    ]
    with installed.client() as client:
        answer = client.classify("imported", TEXTS)
        alone = [client.classify("imported", [text]).rows[0].scores for text in TEXTS]
    assert answer.labels == LABELS
    np.testing.assert_allclose([row.scores for row in answer.rows], expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(alone, expected, atol=1e-5, rtol=0)
    assert np.ptp(expected, axis=0).max() > 0.05


def test_encoder_is_published_and_loaded_and_no_classifier(installation, folder, tmp_path):
    installed = installation
    encoder = tmp_path / "encoder"
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(encoder)
    transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(encoder)
    kinds = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds.items())
    ]
    (encoder / "modules.json").write_text(json.dumps(modules))
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    version = installed.json("publish", str(encoder), "--model", "encoder")["version"]
    assert (version["task"], version["labels"]) == ("embedding", [])
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps({"rules": [{"alias": "prod", "quality": "none"}]}))
    installed.run("policy", "set", "encoder", str(policy), "--reason", "imported models bring no evaluation")
    moved = installed.json("alias", "encoder", "prod", str(version["number"]), "--reason", "test")
    assert moved["load_state"] == "ready"
    with pytest.raises(CommandFailedError, match="this model answers 'embedding' only"):
        installed.run("predict", "encoder", "the team won")


def test_folder_with_code_is_refused_and_leaves_no_version(installation, folder):
    before = installation.json("models")
    (folder / "modeling.py").write_text("raise SystemExit('imported')\n")
    try:
        with pytest.raises(CommandFailedError, match=r"modeling\.py: the folder has code of its own"):
            installation.run("publish", str(folder), "--model", "with-code")
    finally:
        (folder / "modeling.py").unlink()
    assert installation.json("models") == before
