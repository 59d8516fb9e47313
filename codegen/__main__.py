"""``python -m codegen`` is the ``llm-codegen`` command."""

from codegen.cli import main

main()
