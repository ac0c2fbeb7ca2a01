r"""Programs that serve or measure tuned models, each in its own environment, against our answers.

    python -m benchmarks.consumers --base bases/smollm2-135m --run runs/sst2 \
        --data_dir data/sst2 --tiny models/stories260K

`cases` writes what they read and what they have to answer; `environments` installs them; the files
`run_*` run in those environments and know nothing of adept_llm; `table` writes the status table.
What is there is not done again: delete its file to repeat it.
"""
