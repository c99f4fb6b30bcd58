"""What answers from a bundle: NumPy, onnxruntime and the decoder of its kind. No torch here."""
