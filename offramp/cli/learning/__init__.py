"""Commands of learning: data sets, training, search, evaluation, federation."""
