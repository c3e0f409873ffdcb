"""The network: hybrid MLP-LSTM in Keras, its settings, its features of the queue's history."""
