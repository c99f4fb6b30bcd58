"""TEMPORARY stand-in by the lead, to be replaced by helper."""
def render_evaluation(evaluation, console):
    console.print(evaluation.scores)
