"""The commands of the how-to pages, typed in one project: see test_typed_commands."""

import pytest
from test_docs import Block
from test_typed_commands import Shell, of_pages, run_block, shell  # noqa: F401


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("block", of_pages(how_to=True))
def test_a_block_runs(shell: Shell, block: Block) -> None:  # noqa: F811
    run_block(shell, block)
