"""The table of forecasters: one row a model, from which command line, report and conformance suite are made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from offramp.errors import ConfigError
from offramp.inference.baselines.forecaster import Forecaster


class Model(NamedTuple):
    """A row: name, what a report calls it, its family (the colour of its bars), and where its class is."""

    name: str
    title: str
    family: str
    place: str


MODELS: tuple[Model, ...] = (
    Model("hybrid", "Hybrid MLP-LSTM (default)", "hybrid", "hybrid:Hybrid"),
    Model("hybrid-paper", "Hybrid MLP-LSTM (paper)", "hybrid", "hybrid:PaperHybrid"),
    Model("boosting", "Gradient boosting", "trees", "boosting:Boosting"),
    Model("bayes-forest", "NB + random forest", "trees", "bayes_forest:BayesForest"),
    Model("linear-mlp", "Linear regression + MLP", "network", "linear_mlp:LinearMlp"),
    Model("mlp", "MLP alone", "network", "mlp:Mlp"),
    Model("cnn", "CNN", "network", "cnn:Cnn"),
    Model("lstm", "LSTM alone", "network", "lstm:Lstm"),
    Model("svm", "SVM", "kernel", "svm:Svm"),
    Model("mlp-svr", "MLP-SVR", "kernel", "network_svr:MlpSvr"),
    Model("svr-lstm", "SVR-LSTM", "kernel", "network_svr:SvrLstm"),
    Model("ewma", "Exponential average", "naive", "ewma:Ewma"),
    Model("persistence", "Persistence", "naive", "persistence:Persistence"),
)
NAMES = tuple(model.name for model in MODELS)


def model_of(name: str) -> Model:
    """Return a row by its name. Raise ConfigError for an unknown one."""
    for model in MODELS:
        if model.name == name:
            return model
    raise ConfigError(f"--models {name}: unknown; expected some of {', '.join(NAMES)}")


def make(name: str, folder: Path) -> Forecaster:
    """Return a forecaster, not fitted; folder: where it may keep files, such as a trained artifact."""
    module, kind = model_of(name).place.split(":")
    forecaster: Forecaster = getattr(import_module(f"offramp.inference.baselines.{module}"), kind)(name, folder)
    return forecaster


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the table's order; all of them where none is given."""
    wanted = {model_of(name).name for name in names}
    return tuple(name for name in NAMES if not wanted or name in wanted)
