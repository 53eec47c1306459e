# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest

import dragoman_models
import dragoman_trainer
from dragoman_common.errors import AlreadyExistsError, InvalidArgumentError, UnavailableError
from dragoman_models.architecture import load_classifier
from dragoman_models.evaluation import parse_evaluation
from dragoman_models.package import PACKAGE_FILES, parse_model_config
from dragoman_text import load_tokenizer
from dragoman_trainer.ports import JobCancelledError, Published
from dragoman_trainer.recipe import parse_recipe
from dragoman_trainer.training import run


class Recorder:
    """A ProgressReporter that keeps what it hears and cancels at a stage if told to."""

    def __init__(self, cancel_at=""):
        self.reports = []
        self.versions = []
        self._cancel_at = cancel_at

    def report(self, progress):
        self.reports.append(progress)
        if progress.stage == self._cancel_at:
            raise JobCancelledError("stop")

    def published(self, published):
        self.versions.append(published)


class Shelf:
    """A Publisher that keeps digests of the files it was given."""

    def __init__(self):
        self.files = {}
        self.lineage = None

    def published(self):
        return None

    def publish(self, package_dir, lineage):
        self.lineage = lineage
        for path in package_dir.iterdir():
            self.files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return Published(3, "ab" * 32)


def _run(text, data_dir, output_dir, *, reporter=None, publisher=None, **overrides):
    output_dir.mkdir(exist_ok=True)
    recipe = parse_recipe(
        text, file="toy.yaml", overrides={key.replace("__", "."): value for key, value in overrides.items()}
    )
    reporter = reporter or Recorder()
    return run(recipe, text, data_dir=data_dir, output_dir=output_dir, reporter=reporter, publisher=publisher)


@pytest.fixture(params=["linear", "rnn"])
def recipe_text(request, linear_recipe, rnn_recipe):
    return linear_recipe if request.param == "linear" else rnn_recipe


def test_a_run_learns_and_leaves_exactly_the_package_files(recipe_text, toy, tmp_path):
    result = _run(recipe_text, toy, tmp_path / "out")
    assert result.evaluation.accuracy >= 0.9
    assert result.evaluation.macro_recall >= 0.9
    assert sorted(path.name for path in result.package_dir.iterdir()) == sorted(PACKAGE_FILES)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["package"]


def test_the_package_alone_reproduces_the_evaluation_from_text(recipe_text, toy, tmp_path):
    result = _run(recipe_text, toy, tmp_path / "out")
    files = {path.name: path.read_bytes() for path in result.package_dir.iterdir()}
    config = parse_model_config(files["model.json"])
    tokenizer = load_tokenizer(config.tokenizer.backend, files["tokenizer.json"])
    classifier = load_classifier(config, files["weights.safetensors"])
    (evaluation,) = parse_evaluation(files["evaluation.json"])
    lines = (toy / "toy" / "test.tab").read_text(encoding="utf-8").splitlines()[1:]
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    correct = []
    for label, text in zip(labels, texts, strict=True):
        (encoding,) = tokenizer.encode([text], config.input_limits.max_tokens)
        scores = classifier.score([encoding.ids])
        correct.append(config.labels[int(scores[0].argmax())] == label)
    assert tuple(correct) == evaluation.correct
    assert evaluation == result.evaluation
    assert evaluation.num_rows == 90


def test_the_same_recipe_gives_the_same_files(recipe_text, toy, tmp_path):
    first = _run(recipe_text, toy, tmp_path / "one")
    second = _run(recipe_text, toy, tmp_path / "two")
    assert first.weights_sha256 == second.weights_sha256
    for name in PACKAGE_FILES:
        assert (first.package_dir / name).read_bytes() == (second.package_dir / name).read_bytes()


def test_another_seed_gives_other_weights(rnn_recipe, toy, tmp_path):
    first = _run(rnn_recipe, toy, tmp_path / "one", training__epochs="1")
    second = _run(rnn_recipe, toy, tmp_path / "two", training__epochs="1", seed="14")
    assert first.weights_sha256 != second.weights_sha256


def test_the_test_part_does_not_influence_the_weights(recipe_text, toy, tmp_path):
    first = _run(recipe_text, toy, tmp_path / "one")
    path = toy / "toy" / "test.tab"
    path.write_text("category\ttext\nriver\tunheard words only here\nmetal\tzinc\nfruit\tplum\n", encoding="utf-8")
    second = _run(recipe_text, toy, tmp_path / "two")
    assert first.weights_sha256 == second.weights_sha256
    assert first.evaluation.digest != second.evaluation.digest


def test_words_only_in_dev_or_test_are_unknown_to_the_vocabulary(linear_recipe, write_tab, tmp_path):
    train = [(label, f"{label} word{number}") for number in range(20) for label in ("a", "b")]
    dev = [("a", "a devword"), ("b", "b devword")]
    data_dir = write_tab(train=train, dev=dev, test=[("a", "a testword"), ("b", "b testword")])
    result = _run(linear_recipe, data_dir, tmp_path / "out", linear__refit_with_dev="true")
    tokenizer = load_tokenizer("basic_english", (result.package_dir / "tokenizer.json").read_bytes())
    known, from_dev, from_test = tokenizer.encode(["word7", "devword", "testword"], 8)
    assert known.num_unknown == 0
    assert from_dev.ids.tolist() == [tokenizer.unknown_id]
    assert from_test.ids.tolist() == [tokenizer.unknown_id]


def test_shuffled_labels_give_a_model_no_better_than_chance(recipe_text, toy, tmp_path):
    honest = _run(recipe_text, toy, tmp_path / "one")
    shuffled = _run(recipe_text, toy, tmp_path / "two", self_test__shuffle_training_labels="true")
    assert shuffled.evaluation.accuracy < honest.evaluation.accuracy - 0.3
    assert "must not be used" in (shuffled.package_dir / "card.md").read_text(encoding="utf-8")
    assert shuffled.evaluation.digest == honest.evaluation.digest


def test_temperature_is_fitted_and_changes_no_answer(recipe_text, toy, tmp_path):
    result = _run(recipe_text, toy, tmp_path / "out")
    config = parse_model_config((result.package_dir / "model.json").read_bytes())
    assert config.architecture.hyperparameters["temperature"] != 1.0


def test_progress_tells_stages_steps_and_time_left(rnn_recipe, toy, tmp_path):
    recorder = Recorder()
    _run(rnn_recipe, toy, tmp_path / "out", reporter=recorder, publisher=Shelf())
    stages = [progress.stage for progress in recorder.reports]
    assert list(dict.fromkeys(stages)) == ["load", "train", "evaluate", "publish"]
    steps = [progress for progress in recorder.reports if progress.stage == "train"]
    assert [progress.step for progress in steps] == list(range(1, 73))
    assert {(progress.num_steps, progress.num_epochs) for progress in steps} == {(72, 6)}
    assert steps[-1].eta_s == 0.0
    assert steps[0].eta_s > 0.0
    assert set(steps[-1].metrics) == {"train_loss", "train_accuracy", "dev_loss", "dev_accuracy"}


def test_what_is_published_is_what_lies_in_the_package(linear_recipe, toy, tmp_path):
    shelf, recorder = Shelf(), Recorder()
    result = _run(linear_recipe, toy, tmp_path / "out", reporter=recorder, publisher=shelf)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in result.package_dir.iterdir()}
    assert shelf.files == digests
    assert shelf.lineage.recipe == linear_recipe
    assert recorder.versions == [Published(3, "ab" * 32)]
    assert result.published == Published(3, "ab" * 32)


@pytest.mark.parametrize("stage", ["load", "train", "evaluate"])
def test_cancelling_leaves_no_package(rnn_recipe, toy, tmp_path, stage):
    with pytest.raises(JobCancelledError):
        _run(rnn_recipe, toy, tmp_path / "out", reporter=Recorder(cancel_at=stage))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_publish_keeps_the_package_and_is_told(linear_recipe, toy, tmp_path):
    class Away:
        def published(self):
            return None

        def publish(self, package_dir, lineage):
            raise UnavailableError("registry away")

    with pytest.raises(UnavailableError, match="registry away"):
        _run(linear_recipe, toy, tmp_path / "out", publisher=Away())
    assert sorted(path.name for path in (tmp_path / "out" / "package").iterdir()) == sorted(PACKAGE_FILES)


def test_a_package_is_never_overwritten(linear_recipe, toy, tmp_path):
    first = _run(linear_recipe, toy, tmp_path / "out")
    before = (first.package_dir / "weights.safetensors").read_bytes()
    with pytest.raises(AlreadyExistsError, match="choose another output folder"):
        _run(linear_recipe, toy, tmp_path / "out", seed="14")
    assert (first.package_dir / "weights.safetensors").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["package"]


def test_a_row_without_a_token_is_named(linear_recipe, toy, tmp_path):
    path = toy / "toy" / "test.tab"
    path.write_text("category\ttext\nriver\tmain\nmetal\t;;\n", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match="row 2 of test has no token"):
        _run(linear_recipe, toy, tmp_path / "out")


def test_the_card_states_facts_and_no_training_text(linear_recipe, toy, tmp_path):
    result = _run(linear_recipe, toy, tmp_path / "out")
    card = (result.package_dir / "card.md").read_text(encoding="utf-8")
    assert f"| accuracy | {result.evaluation.accuracy:.4f} |" in card
    first_text = (toy / "toy" / "train.tab").read_text(encoding="utf-8").splitlines()[1].split("\t")[1]
    assert first_text not in card


def test_scores_of_the_package_are_probabilities(rnn_recipe, toy, tmp_path):
    result = _run(rnn_recipe, toy, tmp_path / "out", training__epochs="1")
    config = parse_model_config((result.package_dir / "model.json").read_bytes())
    classifier = load_classifier(config, (result.package_dir / "weights.safetensors").read_bytes())
    np.testing.assert_allclose(classifier.score([np.array([2, 3], dtype=np.int32)]).sum(), 1.0, atol=1e-6)


@pytest.mark.parametrize("package", [dragoman_models, dragoman_trainer], ids=lambda package: package.__name__)
def test_neither_torchtext_nor_code_running_loaders_are_used(package):
    forbidden_modules = {"torchtext", "pickle", "joblib", "dill", "shelve", "marshal", "cloudpickle"}
    forbidden_calls = {"eval", "exec"}
    forbidden_attributes = {("torch", "load"), ("torch", "save"), ("yaml", "load"), ("yaml", "unsafe_load")}
    for path in Path(package.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not forbidden_modules & {alias.name.split(".")[0] for alias in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in forbidden_modules, path
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in forbidden_calls, path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in forbidden_attributes, path
