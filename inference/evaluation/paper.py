"""The paper's published scores, shown beside ours and not compared: its data are others, and their labels not public.

Source: the paper on hybrid MLP-LSTM congestion forecasts that this project began with, its tables 2 and 3: macro
averages over three balanced classes, 7,339 test windows; it does not state the unit of its errors.
"""

from __future__ import annotations

PUBLISHED: dict[str, dict[str, float]] = {
    "hybrid-paper": {
        "accuracy": 0.94, "precision": 0.95, "recall": 0.93, "f1": 0.94, "auc_normal": 1.00, "auc_medium": 0.99,
        "auc_high": 1.00, "mae": 1.006, "rmse": 1.078,
    },
    "bayes-forest": {"accuracy": 0.926},
    "linear-mlp": {"accuracy": 0.943, "f1": 0.429},
    "cnn": {"accuracy": 0.910},
    "svm": {"accuracy": 0.910},
    "lstm": {"accuracy": 0.910},
    "mlp-svr": {"mae": 1.180, "rmse": 2.371},
    "svr-lstm": {"mae": 1.083, "rmse": 1.857},
}  # fmt: skip
"""By model: table 2 (accuracy, macro averages, AUC) and table 3 (MAE, RMSE); CNN, SVM and LSTM share one row there."""
