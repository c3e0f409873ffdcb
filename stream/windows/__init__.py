"""Windows: normalised series, and their short-time Fourier transform."""
