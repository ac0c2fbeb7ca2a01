"""The frozen model: loading, quantisation, memory."""
