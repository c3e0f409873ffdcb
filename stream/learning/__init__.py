"""From a data set to a trained model, and what is judged of it."""
