"""Windows in, forecasts out: model, training, evaluation, serving. Knows nobody."""
