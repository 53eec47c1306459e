# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`dragoman publish` of folders that the transformers library has saved: what is refused, and what comes out."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from safetensors.numpy import load, load_file, save_file

from dragoman_client.huggingface_folder import is_huggingface
from dragoman_client.huggingface_package import convert_folder
from dragoman_common.errors import InvalidArgumentError
from dragoman_models.architecture import check_weights, load_classifier, load_embedder
from dragoman_models.package import parse_model_config
from dragoman_text import load_tokenizer

torch.set_num_threads(1)

LABELS = ("sport", "business", "tech")
WORDS = (
    "the",
    "cat",
    "dog",
    "oil",
    "price",
    "rose",
    "team",
    "won",
    "chip",
    "##s",
    "##ed",
    "on",
    "mat",
    "sat",
    ".",
    ",",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEXTS = [
    "The cat sat on the mat.",
    "oil prices rose",
    "",
    "the team won, the dogs won, the chips rose " * 3,
    "zyzzyva",
    "the " * 200,
]


def tokenizer_of_words() -> transformers.PreTrainedTokenizerFast:
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
    )


def save(folder: Path, kind: str = "Bert", **changes: Any) -> Path:
    """A random classifier as save_pretrained writes it."""
    names = dict(enumerate(LABELS))
    sizes = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "initializer_range": 0.4,
        "id2label": names,
        "label2id": {label: number for number, label in names.items()},
    }
    if kind == "DistilBert":
        for old, new in (("hidden_size", "dim"), ("intermediate_size", "hidden_dim")):
            sizes[new] = sizes.pop(old)
    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(**(sizes | changes))
    model = getattr(transformers, f"{kind}ForSequenceClassification")._from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer_of_words().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("huggingface") / "bert")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change(folder: Path, file: str, **changes: Any) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def scores(folder: Path, texts: list[str]) -> np.ndarray:
    """As serving computes them: tokenizer, then classifier, from the package's bytes alone."""
    files = convert_folder(folder).files
    config = parse_model_config(files["model.json"])
    check_weights(config, files["weights.safetensors"], weights_bytes=len(files["weights.safetensors"]))
    rows = load_tokenizer(config.tokenizer.backend, files["tokenizer.json"]).encode(
        texts, config.input_limits.max_tokens
    )
    return load_classifier(config, files["weights.safetensors"]).score([row.ids for row in rows])


def pipeline_scores(folder: Path, texts: list[str], batch_size: int) -> np.ndarray:
    classify = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    answers = classify(texts, batch_size=batch_size, top_k=None, truncation=True)
    return np.array(
        [[next(a["score"] for a in answer if a["label"] == label) for label in LABELS] for answer in answers]
    )


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Electra", "Albert"])
def test_scores_equal_the_transformers_pipeline_s(kind: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", kind)
    found = scores(folder, TEXTS)
    for batch_size in (1, len(TEXTS)):
        np.testing.assert_allclose(found, pipeline_scores(folder, TEXTS, batch_size), atol=1e-5, rtol=0)
    assert np.ptp(found, axis=0).max() > 0.05
    assert parse_model_config(convert_folder(folder).files["model.json"]).labels == LABELS


def byte_level_tokenizer() -> tokenizers.Tokenizer:
    """As RoBERTa's: bytes, no unknown token, <pad> is not 0."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def unigram_tokenizer() -> tokenizers.Tokenizer:
    """As XLM-RoBERTa's: pieces with scores."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@pytest.mark.parametrize(
    ("kind", "make"),
    [("Roberta", byte_level_tokenizer), ("XLMRoberta", unigram_tokenizer), ("MPNet", unigram_tokenizer)],
)
def test_scores_equal_the_pipeline_s_where_padding_is_not_0(
    kind: str, make: Callable[[], tokenizers.Tokenizer], tmp_path: Path
) -> None:
    tokenizer = make()
    folder = save(tmp_path / "model", kind, vocab_size=tokenizer.get_vocab_size(), pad_token_id=1)
    names = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", model_max_length=32, **names
    ).save_pretrained(folder)
    found = scores(folder, TEXTS)
    for batch_size in (1, len(TEXTS)):
        np.testing.assert_allclose(found, pipeline_scores(folder, TEXTS, batch_size), atol=1e-5, rtol=0)
    assert np.ptp(found, axis=0).max() > 0.05


def test_ids_have_the_special_tokens_around_a_text_that_is_cut(folder: Path) -> None:
    files = convert_folder(folder).files
    config = parse_model_config(files["model.json"])
    assert config.input_limits.max_tokens == 32, "the tokenizer's limit is below the model's 40 positions"
    (row,) = load_tokenizer("huggingface", files["tokenizer.json"]).encode(["the " * 100], 32)
    assert (row.ids[0], row.ids[-1], row.ids.size, row.truncated) == (2, 3, 32, True)
    assert parse_model_config(convert_folder(folder, max_tokens=40).files["model.json"]).input_limits.max_tokens == 40
    with pytest.raises(InvalidArgumentError, match="max_tokens is 41; the model has 40 positions"):
        convert_folder(folder, max_tokens=41)


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    assert convert_folder(folder).files == convert_folder(folder).files


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_become_float32_without_loss(folder: Path, dtype: str) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    stored = load(convert_folder(folder).files["weights.safetensors"])
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float32)}
    expected = model.state_dict()["bert.encoder.layer.1.output.dense.weight"].to(torch.float32).numpy()
    np.testing.assert_array_equal(stored["layers.1.narrow.weight"], expected)


def test_shards_are_read_by_their_index(folder: Path) -> None:
    expected = convert_folder(folder).files
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="8KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    found = convert_folder(folder).files
    assert found["weights.safetensors"] == expected["weights.safetensors"]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for name, file, message in (
        ("classifier.bias", "../other.safetensors", "is no name of a shard"),
        ("classifier.bias", "model-00009-of-00009.safetensors", "model-00009-of-00009.safetensors is missing"),
        ("classifier.extra", index["weight_map"]["classifier.bias"], "classifier.extra is not in the file"),
        ("classifier.bias", index["weight_map"]["bert.embeddings.word_embeddings.weight"], "classifier.bias is not in"),
    ):
        changed = {"weight_map": index["weight_map"] | {name: file}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(changed))
        with pytest.raises(InvalidArgumentError, match=message):
            convert_folder(folder)


def test_the_card_has_sources_and_front_matter_as_text(folder: Path) -> None:
    readme = "---\nlicense: mit\ntags:\n- \x1b[31mnews\n---\n# Title <script>\n"
    (folder / "README.md").write_text(readme)
    card = convert_folder(folder).files["card.md"].decode()
    assert "    license: mit\n    tags:\n    -  [31mnews\n" in card
    assert "script" not in card
    assert card.count("- `") == 3


PLANTED = "planted-by-a-model-folder"
CODE = f"import os\nos.environ[{PLANTED!r}] = '1'\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modeling_custom.py", CODE, "modeling_custom.py: the folder has code of its own"),
        ("inner/handler.py", CODE, "inner/handler.py: the folder has code of its own"),
        ("extension.so", "", "extension.so: the folder has code"),
        ("chat_template.jinja", "{{ x }}", "chat_template.jinja: chat templates are programs"),
        ("chat_template.json", "{}", "chat_template.json: chat templates are programs"),
        ("adapter_config.json", "{}", "merge the adapter"),
        ("generation_config.json", '{"a": {"auto_map": {}}}', "generation_config.json: auto_map asks for"),
        ("generation_config.json", "{", "generation_config.json is not strict JSON"),
        ("model.safetensors.index.json", "{}", "two sets of weights"),
    ],
)
def test_a_file_beside_the_model_makes_it_refused(folder: Path, name: str, content: str, message: str) -> None:
    convert_folder(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    modules = set(sys.modules)
    with pytest.raises(InvalidArgumentError, match=message):
        convert_folder(folder)
    assert PLANTED not in os.environ
    assert set(sys.modules) == modules


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling_custom.Model"}}, "config.json: auto_map asks for"),
        ("config.json", {"trust_remote_code": False}, "config.json: trust_remote_code asks for"),
        ("config.json", {"custom_pipelines": {"x": {"impl": "p.P"}}}, "config.json: custom_pipelines asks for"),
        ("config.json", {"quantization_config": {"load_in_8bit": True}}, "quantised"),
        ("config.json", {"architectures": ["T5ForSequenceClassification"], "model_type": "t5"}, "cannot be computed"),
        ("config.json", {"problem_type": "multi_label_classification"}, "only single_label_classification"),
        ("config.json", {"vocab_size": 20}, "tokenizer.json: has 21 ids; the model's vocabulary has 20"),
        ("config.json", {"num_hidden_layers": 3}, "bert.encoder.layer.2.* is missing"),
        ("config.json", {"num_hidden_layers": 1}, "bert.encoder.layer.1.* belongs to no such model"),
        ("config.json", {"intermediate_size": 25}, r"by config.json it must be a float \[25, 16\]"),
        ("config.json", {"id2label": {"0": "a", "1": "b"}, "label2id": None}, r"classifier.weight is F32 \[3, 16\]"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t.T", None]}}, "tokenizer_config.json: auto_map"),
        ("tokenizer_config.json", {"chat_template": "{{ x }}"}, "chat_template is a program"),
        ("tokenizer_config.json", {"truncation_side": "left"}, "truncation_side must be right"),
        ("tokenizer_config.json", {"do_lower_case": False}, "do_lower_case contradicts"),
        ("tokenizer.json", {"post_processor": None}, "its post_processor adds no special tokens"),
        ("tokenizer.json", {"auto_map": {}}, "unknown keys: 'auto_map'"),
    ],
)
def test_a_changed_file_makes_it_refused(folder: Path, file: str, changes: dict[str, Any], message: str) -> None:
    convert_folder(folder)
    change(folder, file, **changes)
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match=message):
        convert_folder(folder)


def test_a_token_type_other_than_0_is_refused(folder: Path) -> None:
    value = json.loads((folder / "tokenizer.json").read_text())
    value["post_processor"]["single"][1]["Sequence"]["type_id"] = 1
    (folder / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(InvalidArgumentError, match="token type other than 0"):
        convert_folder(folder)


class Payload:
    """What a pickled file can do to who opens it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def test_pickled_weights_are_refused_with_the_way_out_and_never_opened(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "opened"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker)))
    assert "pytorch_model.bin" in convert_folder(folder).left_out
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidArgumentError, match=r"pytorch_model\.bin: pickled weights .*save_pretrained\(NEW\)"):
        convert_folder(folder)
    assert not marker.exists()


def test_a_folder_without_weights_or_tokenizer_says_how_to_make_them(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "kept")
    with pytest.raises(InvalidArgumentError, match="only fast tokenizers can be read"):
        convert_folder(folder)
    (folder / "kept").rename(folder / "tokenizer.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidArgumentError, match=r"model\.safetensors is missing"):
        convert_folder(folder)


def test_weights_that_are_no_plain_floats_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for broken, message in (
        (tensors | {"classifier.bias": tensors["classifier.bias"].astype(np.int8)}, "dtype is 'I8'"),
        (tensors | {"classifier.bias": tensors["classifier.bias"].astype(np.int64)}, "classifier.bias is I64"),
        (tensors | {"classifier.bias": tensors["classifier.bias"] * np.float32(np.nan)}, "NaN or infinite"),
        (tensors | {"lora.a": np.zeros(1, dtype=np.float32)}, "model.safetensors: lora.a belongs to no such model"),
        (tensors | {"bert.embeddings.LayerNorm.gamma": tensors["classifier.bias"]}, "is there twice"),
    ):
        save_file(broken, path)
        with pytest.raises(InvalidArgumentError, match=message):
            convert_folder(folder)
    save_file(tensors | {"bert.embeddings.position_ids": np.arange(40)[None]}, path)
    convert_folder(folder)
    for data in (b"", b"\xff" * 100, path.read_bytes()[:-1]):
        path.write_bytes(data)
        with pytest.raises(InvalidArgumentError, match=r"model\.safetensors: "):
            convert_folder(folder)


def test_links_and_special_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidArgumentError, match="pipe is no plain file"):
        convert_folder(folder)
    (folder / "pipe").unlink()
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(InvalidArgumentError, match=r"README.md is a link; copy the folder with `cp -rL`"):
        convert_folder(folder)


def sentence_encoder(folder: Path) -> Path:
    """A bare BERT as sentence-transformers saves it: its files beside the library's."""
    model = transformers.BertModel.from_pretrained(save(folder), add_pooling_layer=True)
    model.save_pretrained(folder)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24, "do_lower_case": false}')
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {}, "default_prompt_name": null}')
    return folder


def test_a_sentence_encoder_becomes_an_embedding_package(tmp_path: Path) -> None:
    folder = sentence_encoder(tmp_path / "encoder")
    package = convert_folder(folder)
    config = parse_model_config(package.files["model.json"])
    assert (config.task, config.labels, config.input_limits.max_tokens) == ("embedding", (), 24)
    assert package.left_out == ()
    tokenizer = load_tokenizer("huggingface", package.files["tokenizer.json"])
    rows = [row.ids for row in tokenizer.encode(TEXTS, 24)]
    vectors = load_embedder(config, package.files["weights.safetensors"]).embed(rows)
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, truncation=True, max_length=24, return_tensors="pt"
    )
    with torch.inference_mode():
        states = transformers.AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
    mask = inputs["attention_mask"][:, :, None]
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)


def test_an_encoder_whose_pooling_is_not_said_or_is_another_is_refused(tmp_path: Path) -> None:
    folder = sentence_encoder(tmp_path / "encoder")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(InvalidArgumentError, match=r"1_Pooling/config\.json: exactly one"):
        convert_folder(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(InvalidArgumentError, match=r"1_Pooling/config\.json is missing"):
        convert_folder(folder)
    (folder / "modules.json").unlink()
    with pytest.raises(InvalidArgumentError, match="without a classification head, and nothing says how its tokens"):
        convert_folder(folder)


async def test_the_command_publishes_the_package_and_names_what_it_left_out(platform: Any, folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(b"\x80\x04")
    [document] = await platform.json("publish", str(folder), "--model", "r8")
    assert document["converted"]["family"] == "bert"
    assert "training_args.bin" in document["converted"]["left_out"]
    assert platform.registry.published == convert_folder(folder).files


async def test_a_dry_run_writes_the_package_and_publishes_nothing(platform: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    [document] = await platform.json("publish", str(folder), "--dry-run", str(out), "--max-tokens", "16")
    assert (document["created"], document["version"]) == (False, None)
    assert platform.registry.published == {}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == convert_folder(folder, max_tokens=16).files
    assert not is_huggingface(out)
    again = await platform.dragoman("publish", str(folder), "--dry-run", str(out))
    assert again.exit_code == 2
    assert "is not empty" in again.stderr


async def test_a_refused_folder_sends_nothing(platform: Any, folder: Path) -> None:
    (folder / "modeling.py").write_text(CODE)
    result = await platform.dragoman("publish", str(folder), "--model", "r8")
    assert result.exit_code == 2
    assert "error: INVALID_ARGUMENT: modeling.py: the folder has code of its own" in result.stderr
    assert platform.registry.published == {}
    assert PLANTED not in os.environ


async def test_options_of_the_conversion_are_refused_for_a_package(platform: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await platform.json("publish", str(folder), "--dry-run", str(out))
    result = await platform.dragoman("publish", str(out), "--model", "r8", "--max-tokens", "8")
    assert result.exit_code == 2
    assert "a package is final" in result.stderr
    missing = await platform.dragoman("publish", str(folder))
    assert missing.exit_code == 2
    assert "--model is missing" in missing.stderr
