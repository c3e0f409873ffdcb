"""The network as an ONNX graph, made from an artifact's weights: one step with carried state, or whole windows.

Source: ONNX operators Gemm, MatMul, LSTM (gates in the order i, o, f, c), Softplus, CumSum, opset 17.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

from offramp.inference.artifact import Artifact
from offramp.inference.network.preset import OUTPUTS
from offramp.inference.network.queue_history import ANCHORS, FEATURES, SCALE

OPSET, IR_VERSION = 17, 9
FLOAT = TensorProto.FLOAT
HEADS = {"probabilities": ["n", 3], "rising": ["n", 3]}


class Graph:
    """Collects nodes and constants."""

    def __init__(self, artifact: Artifact) -> None:
        self.weights = artifact.weights
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> str:
        """Add a node; return its first output."""
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))
        return next(name for name in outputs if name)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant; return its name."""
        self.constants[name] = array
        return name

    def dense(self, name: str, given: str, *, relu: bool = True) -> str:
        """Add a dense layer over the last axis of [n, inputs] or [T, n, inputs]."""
        w = self.constant(f"{name}_w", self.weights[f"{name}_w"])
        b = self.constant(f"{name}_b", self.weights[f"{name}_b"])
        summed = self.add("Add", [self.add("MatMul", [given, w], [f"{name}_product"]), b], [f"{name}_sum"])
        return self.add("Relu", [summed], [f"{name}_out"]) if relu else summed

    def features(self) -> str:
        """Add the dense layers of the channels `x`, beside that of the spectra `frames`."""
        channels = "x"
        for name in ("dense1", "dense2", "dense3"):
            channels = self.dense(name, channels)
        return self.add("Concat", [channels, self.dense("spectrum", "frames")], ["both"], axis=-1)

    def lstm(self, name: str, given: str, h: str = "", c: str = "") -> tuple[str, str, str]:
        """Add an LSTM layer over [T, n, inputs]; h, c: [1, n, units]; return all h [T, 1, n, units], last h, last c."""
        units = self.weights[f"{name}_r"].shape[0]
        w = self.constant(f"{name}_w", onnx_gates(self.weights[f"{name}_w"], units)[None])
        r = self.constant(f"{name}_r", onnx_gates(self.weights[f"{name}_r"], units)[None])
        bias = onnx_gates(self.weights[f"{name}_b"][None], units)[:, 0]
        b = self.constant(f"{name}_b", np.concatenate([bias, np.zeros_like(bias)])[None])
        out = (f"{name}_all", f"{name}_h", f"{name}_c")
        self.add("LSTM", [given, w, r, b, "", h, c], out, hidden_size=units)
        return out

    def heads(self, fused: str, row: str) -> None:
        """Add the two heads over [n, fusion]; row: the bin's [n, inputs], of which the delay's may take its anchors."""
        self.add("Softmax", [self.dense("classes", fused, relu=False)], ["probabilities"], axis=-1)
        numbers = self.dense("delay", fused, relu=False)
        if self.weights["delay_w"].shape[1] > OUTPUTS:
            self.anchored(numbers, row)
            return
        positive = self.add("Softplus", [numbers], ["delay_positive"])
        self.add("CumSum", [positive, self.constant("last_axis", np.array(1, np.int64))], ["rising"])

    def anchored(self, numbers: str, row: str) -> None:
        """Add the quantiles that rest on anchors: means weighted by a softmax, shifted, none below the one before."""
        first = self.weights["dense1_w"].shape[0] - FEATURES
        axis, ends = self.constant("columns", np.array([1], np.int64)), []
        for name, array in (("from", first), ("to", first + ANCHORS)):
            ends.append(self.constant(f"anchors_{name}", np.array([array], np.int64)))
        anchors = self.add("Slice", [row, *ends, axis], ["anchors"])
        scaled = self.add("Mul", [anchors, self.constant("scale", np.array(SCALE, np.float32))], ["anchors_log"])
        parts = [f"weights{j}" for j in range(OUTPUTS)] + ["shifts"]
        sizes = self.constant("sizes", np.array([ANCHORS] * OUTPUTS + [OUTPUTS], np.int64))
        self.add("Split", [numbers, sizes], parts, axis=-1)
        shifts = [f"shift{j}" for j in range(OUTPUTS)]
        self.add("Split", ["shifts"], shifts, axis=-1)
        before, found = self.constant("no_delay", np.zeros(1, np.float32)), []
        for j, shift in enumerate(shifts):
            shares = self.add("Softmax", [parts[j]], [f"shares{j}"], axis=-1)
            summed = self.add("ReduceSum", [self.add("Mul", [shares, scaled], [f"part{j}"]), axis], [f"mean{j}"])
            before = self.add("Max", [self.add("Add", [summed, shift], [f"value{j}"]), before], [f"quantile{j}"])
            found.append(before)
        self.add("Concat", found, ["rising"], axis=-1)

    def model(self, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> Any:
        """Return the checked model of inputs and outputs by name and shape."""
        graph = helper.make_graph(
            self.nodes, "offramp",
            [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(each, name) for name, each in self.constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        checker.check_model(model)
        return model


def onnx_gates(array: NDArray[np.float32], units: int) -> NDArray[np.float32]:
    """Return Keras' [inputs, 4 * units] of gates i, f, c, o as ONNX' [4 * units, inputs] of i, o, f, c."""
    i, f, c, o = (array[:, k * units : (k + 1) * units] for k in range(4))
    return np.ascontiguousarray(np.concatenate([i, o, f, c], axis=1).T)


def step_model(artifact: Artifact) -> Any:
    """Return the graph of one step: x [n, F], frames [n, K], state [n, 4 * units] -> probabilities, rising, after."""
    graph = Graph(artifact)
    both = graph.features()
    first = graph.constant("first_axis", np.array([0], np.int64))
    parts = ["h1", "c1", "h2", "c2"]
    graph.add("Split", ["state"], parts, axis=-1)
    before = [graph.add("Unsqueeze", [part, first], [f"{part}_before"]) for part in parts]
    _, h1, c1 = graph.lstm("lstm1", graph.add("Unsqueeze", [both, first], ["both_bin"]), *before[:2])
    _, h2, c2 = graph.lstm("lstm2", h1, *before[2:])
    after = [graph.add("Squeeze", [name, first], [f"{name}_flat"]) for name in (h1, c1, h2, c2)]
    graph.add("Concat", after, ["after"], axis=-1)
    graph.heads(graph.dense("fusion", graph.add("Concat", [both, after[2]], ["fused"], axis=-1)), "x")
    state_size = 4 * artifact.weights["lstm1_r"].shape[0]
    inputs = {**_inputs(artifact, ["n"]), "state": ["n", state_size]}
    return graph.model(inputs, {**HEADS, "after": ["n", state_size]})


def window_model(artifact: Artifact) -> Any:
    """Return the graph of whole windows from fresh state: x [T, n, F], frames [T, n, K] -> the last bin's outputs."""
    graph = Graph(artifact)
    both = graph.features()
    second = graph.constant("second_axis", np.array([1], np.int64))
    whole, _, _ = graph.lstm("lstm1", both)
    _, h2, _ = graph.lstm("lstm2", graph.add("Squeeze", [whole, second], ["lstm1_rows"]))
    first = graph.constant("first_axis", np.array([0], np.int64))
    memory = graph.add("Squeeze", [h2, first], ["memory"])
    newest = graph.add("Gather", [both, graph.constant("newest", np.array(-1, np.int64))], ["both_newest"], axis=0)
    row = graph.add("Gather", ["x", graph.constant("newest_row", np.array(-1, np.int64))], ["x_newest"], axis=0)
    graph.heads(graph.dense("fusion", graph.add("Concat", [newest, memory], ["fused"], axis=-1)), row)
    return graph.model(_inputs(artifact, ["bins", "n"]), HEADS)


def _inputs(artifact: Artifact, axes: list[Any]) -> dict[str, list[Any]]:
    manifest = artifact.manifest
    return {"x": [*axes, artifact.weights["dense1_w"].shape[0]], "frames": [*axes, int(manifest["spectrum_size"])]}
