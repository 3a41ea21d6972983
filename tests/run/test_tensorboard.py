"""What TensorBoard itself says of runs: a server on loopback reads them, and each of its pages is asked over HTTP."""

import dataclasses
import io
import json

import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard import program
from test_run import CNN, MLP, made_set, measures, train

from tfcore import recipes, run, tree
from tfcore.run import console

PLAIN = dataclasses.replace(CNN, model=dataclasses.replace(CNN.model, batch_norm=False), epochs=3)
TWO = dataclasses.replace(MLP, loss="sigmoid_cross_entropy", epochs=1)
PATHS = ["conv1/w", "conv1/b", "dense1/w", "dense1/b", "logits/w", "logits/b"]
HIDDEN = {"run": "cnn/validation", "name": "last hidden layer"}  # which the Projector shows


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory with two runs, cnn of three classes and two of two, and their results."""
    place = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "SHARE", np.inf)  # so short a run would draw only at its end
        patch.setattr(console.Console, "_beside", lambda _, show: show())
        results = {"cnn": train(PLAIN, place / "cnn", histograms=True)}
        return place, {**results, "two": train(TWO, place / "two", splits=made_set(classes=2))}


@pytest.fixture(scope="module")
def ask(runs):
    """Returns ask(page, body=None, **query) -> the answer of TensorBoard, as what its JSON says where it is JSON."""
    servers = []

    def make(*arguments):
        servers.append(program.WerkzeugServer(*arguments))
        return servers[-1]

    board = program.TensorBoard(server_class=make)
    all_at_once = ["--load_fast=false", "--reload_task=blocking", "--reload_interval=0"]
    board.configure(["tensorboard", f"--logdir={runs[0]}", "--host=127.0.0.1", "--port=0", *all_at_once])
    url = f"{board.launch()}data/plugin"

    def ask(page, body=None, **query):
        options = {"params": query, "timeout": 30}
        answer = (
            requests.post(f"{url}/{page}", json=body, **options) if body else requests.get(f"{url}/{page}", **options)
        )
        answer.raise_for_status()
        return answer.json() if "json" in answer.headers["Content-Type"] else answer.content

    yield ask
    servers[0].shutdown()


# Scalars, and Custom Scalars


def curve(ask, name, tag):
    """Returns {step: value} of a curve of a run."""
    return {step: value for _, step, value in ask("scalars/scalars", run=name, tag=tag)}


@pytest.mark.parametrize("tag", ["loss", "accuracy"])
def test_the_curves_are_the_rows_of_metrics_and_the_test_is_a_point_of_the_same_name(ask, runs, tag):
    rows = measures(runs[0] / "cnn")
    assert len(rows) == 3
    for part in (2, 3):  # of a row; 3 steps are a block and an epoch
        wanted = {row[1]: pytest.approx(row[part][tag]) for row in rows}
        assert curve(ask, ("cnn/train", "cnn/validation")[part - 2], tag) == wanted
    assert curve(ask, "cnn/test", tag) == {9: pytest.approx(runs[1]["cnn"].test[tag])}
    assert curve(ask, "two/validation", tag) == {3: pytest.approx(measures(runs[0] / "two")[0][3][tag])}


def test_accuracy_and_loss_come_first_and_thresholds_last(ask):
    """The page opens its groups, what stands before the first stroke of a tag, in the order of their names."""
    tags = ask("scalars/tags")
    assert set(tags) == {f"{name}/{part}" for name in ("cnn", "two") for part in ("train", "validation", "test")}
    groups = sorted({tag.split("/")[0] for of_run in tags.values() for tag in of_run})
    assert groups == ["accuracy", "loss", "measures", "progress", "thresholds"]
    assert {tag for tag in tags["two/validation"] if tag.startswith("thresholds/")} >= {
        f"thresholds/{name}_at/0.{tenth}" for name in ("accuracy", "precision", "recall") for tenth in range(1, 10)
    }
    progress = {f"progress/{name}" for name in ("gradient_norm", "images_per_second", "learning_rate")}
    assert set(tags["cnn/train"]) == {"accuracy", "loss", *progress}
    assert curve(ask, "cnn/train", "progress/learning_rate") == {step: pytest.approx(1e-3) for step in (3, 6, 9)}


def test_custom_scalars_lays_out_loss_accuracy_and_learning_rate(ask):
    (category,) = ask("custom_scalars/layout")["category"]
    assert [chart["title"] for chart in category["chart"]] == ["loss", "accuracy", "learning rate"]
    for chart in category["chart"]:
        (pattern,) = chart["multiline"]["tag"]
        found = ask("custom_scalars/scalars", run="cnn/train", tag=pattern)
        ((_, points),) = found["tag_to_events"].items()
        assert [step for _, step, _ in points] == [3, 6, 9]


# Images


def test_each_part_has_its_pictures_and_they_decode(ask):
    tags = ask("images/tags")
    shown = {f"pictures/{name}" for name in ("confusion", "predictions", "most wrong", "filters", "layers")}
    assert set(tags["cnn/train"]) == {"pictures/training pictures", "pictures/augmented"}
    assert set(tags["cnn/validation"]) == set(tags["cnn/test"]) == shown
    assert "pictures/measures" in tags["two/test"]
    for name in ("cnn/train", "cnn/validation", "cnn/test"):
        for tag in tags[name]:
            samples = ask("images/images", run=name, tag=tag, sample=0)
            assert [sample["step"] for sample in samples] == {"train": [0], "test": [9]}.get(name[4:], [6])
            for sample in samples:
                with Image.open(io.BytesIO(ask(f"images/individualImage?{sample['query']}"))) as image:
                    image.load()
                    assert min(image.size) > 100 and np.ptp(np.asarray(image)) > 50, (name, tag)


# Graphs


def graph(ask, **query):
    """Returns {name of a node: its operation}."""
    text = ask("graphs/graph", run="cnn/train", conceptual="false", **query)
    return {node.name: node.op for node in text_format.Parse(text.decode(), tf.compat.v1.GraphDef()).node}


def test_both_graphs_have_weights_by_path_and_a_box_a_layer(ask):
    info = ask("graphs/info")
    assert info["cnn/train"]["run_graph"] and info["cnn/train"]["tags"]["training step"]["op_graph"]
    for query in ({}, {"tag": "training step"}):
        nodes = graph(ask, **query)
        assert {nodes[path] for path in PATHS} == {"Placeholder"}
        boxes = {
            name: {op for node, op in nodes.items() if node.startswith(f"{name}/")} for name in ("conv1", "dense1")
        }
        assert {"Conv2D", "BiasAdd", "MaxPool", "Relu"} <= boxes["conv1"]
        assert {"MatMul", "BiasAdd", "Relu"} <= boxes["dense1"] and "Conv2D" not in boxes["dense1"]
    assert {f"slots/{moment}/conv1/w" for moment in "mv"} | {"step"} <= set(nodes)
    assert "Conv2DBackpropFilter" in nodes.values()


# Histograms


def test_histograms_count_each_weight_and_gradient_under_its_path(ask, runs):
    _, weights, _ = run.load_run(runs[0] / "cnn")
    values = tree.flatten(weights)
    assert sorted(values) == sorted(PATHS)
    tags = ask("histograms/tags")
    wanted = {f"{group}/{path}" for group in ("weights", "weights_gradients") for path in PATHS}
    assert set(tags) == {"cnn/train"} and set(tags["cnn/train"]) == wanted
    for path, value in values.items():
        points = ask("histograms/histograms", run="cnn/train", tag=f"weights/{path}")
        assert [step for _, step, _ in points] == [3, 6, 9]
        lefts, rights, counts = np.transpose(points[-1][2])
        assert sum(counts) == value.size
        np.testing.assert_allclose([min(lefts), max(rights)], [value.min(), value.max()], rtol=1e-5, atol=1e-6)


# HParams


def test_hparams_puts_runs_side_by_side_with_their_settings_and_measures(ask, runs):
    experiment = ask("hparams/experiment", {"experimentName": ""})
    assert {"learning_rate", "batch_size", "loss", "seed"} <= {info["name"] for info in experiment["hparamInfos"]}
    assert {"group": "test", "tag": "accuracy"} in [info["name"] for info in experiment["metricInfos"]]
    body = {"experimentName": "", "startIndex": 0, "sliceSize": 9, "allowedStatuses": ["STATUS_UNKNOWN"]}
    groups = {group["sessions"][0]["name"]: group for group in ask("hparams/session_groups", body)["sessionGroups"]}
    assert set(groups) == {"cnn", "two"}
    for name, group in groups.items():
        settings = group["hparams"]
        assert settings["learning_rate"] == 1e-3 and settings["batch_size"] == 16 and settings["flip"] is True
        assert settings["kind"] == {"cnn": "cnn", "two": "mlp"}[name]
        found = {
            (metric["name"].get("group"), metric["name"]["tag"]): metric["value"] for metric in group["metricValues"]
        }
        for tag in ("loss", "accuracy"):
            assert found["test", tag] == pytest.approx(runs[1][name].test[tag])
            assert found["validation", tag] == pytest.approx(measures(runs[0] / name)[-1][3][tag])


# PR Curves


@pytest.mark.parametrize(("name", "classes"), [("cnn", "abc"), ("two", "ab")])
def test_each_class_has_its_precision_and_recall_by_hand(ask, runs, name, classes):
    test, tags = made_set(classes=len(classes)).test, ask("pr_curves/tags")
    assert set(tags[f"{name}/test"]) == {f"classes/{letter}/pr_curves" for letter in classes}
    recipe, weights, stats, _ = recipes.load_run(runs[0] / name)
    logits = recipes.predictor(recipe)(weights, stats, test.images).astype(np.float64)
    logits = np.concatenate([0 * logits, logits], axis=1) if logits.shape[1] == 1 else logits
    p = np.exp(logits) / np.sum(np.exp(logits), axis=1, keepdims=True)
    for c, letter in enumerate(classes):
        ((last,),) = ask("pr_curves/pr_curves", run=f"{name}/test", tag=f"classes/{letter}/pr_curves").values()
        reached = p[:, c] >= np.array(last["thresholds"])[:, None] - 1e-9  # [thresholds, N]
        true, taken = reached & (test.labels == c), np.sum(reached, axis=1)
        assert len(taken) > 10 and taken[0] == len(test.labels)
        np.testing.assert_allclose(last["recall"], np.sum(true, axis=1) / np.sum(test.labels == c), rtol=1e-5)
        np.testing.assert_allclose(last["precision"], np.sum(true, axis=1) / np.maximum(taken, 1), rtol=1e-5)


# Projector


def test_the_projector_has_a_vector_a_name_and_a_picture_of_each_example(ask):
    assert set(ask("projector/runs")) == {"cnn/validation", "two/validation"}
    (embedding,) = ask("projector/info", run="cnn/validation")["embeddings"]
    assert embedding["tensorName"] == HIDDEN["name"] and embedding["tensorShape"] == [20, 8]
    vectors = np.frombuffer(ask("projector/tensor", **HIDDEN), np.float32).reshape(20, 8)
    assert np.isfinite(vectors).all() and vectors.min() >= 0 and vectors.std() > 0  # behind a relu
    validation = made_set().validation
    assert ask("projector/metadata", **HIDDEN).decode().split() == ["abc"[label] for label in validation.labels]
    with Image.open(io.BytesIO(ask("projector/sprite_image", **HIDDEN))) as image:
        sheet = np.asarray(image)
    assert embedding["sprite"]["singleImageDim"] == [8, 8] and sheet.shape == (40, 40, 3)
    for i, picture in enumerate(validation.images):
        top, left = 8 * (i // 5), 8 * (i % 5)
        np.testing.assert_array_equal(sheet[top : top + 8, left : left + 8], np.broadcast_to(picture, [8, 8, 3]))


# Text


def test_the_texts_are_tables(ask, runs):
    assert set(ask("text/tags")["cnn/train"]) == {"configuration", "parameters", "environment", "result"}

    def rows(tag):
        (text,) = ask("text/text", run="cnn/train", tag=tag)
        cells = [row.split("<td>")[1:] for row in text["text"].split("<tr>")]
        return {row[0].split("<")[0]: [cell.split("<")[0] for cell in row[1:]] for row in cells if row}

    assert [path for path in rows("parameters") if path != "total"] == PATHS
    assert rows("parameters")["conv1/w"] == ["3x3x1x4", "36", "144"]
    assert rows("configuration")["batch_size"] == ["16"]
    (start,) = json.loads((runs[0] / "cnn" / "environment.json").read_text())
    assert rows("environment")["tensorflow"] == [start["tensorflow"]]
    assert float(rows("result")["accuracy"][0]) == pytest.approx(runs[1]["cnn"].test["accuracy"])
