"""One file a row of the table of issue 3: NAME, TITLE and run(bench, row)."""
