"""From a trained run to a bundle that proves itself: the graph, its certificate, its card."""
