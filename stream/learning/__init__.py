"""From a data set to a trained model, and to its evaluation."""
