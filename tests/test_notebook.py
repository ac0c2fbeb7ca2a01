"""The notebook runs from top to bottom, and learns what it says."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[1] / "recipes" / "first_steps.ipynb"


def test_the_notebook_runs_and_learns(capsys):
    content = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5 and not any(cell["outputs"] for cell in cells)
    names = {"__name__": "notebook"}
    for cell in cells:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["accuracy"] > 0.9 and names["losses"][-1] < names["losses"][0] / 3
    # the merged model's own words
    answer, right = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert answer == right
