"""The packaged project as a command: ``python -m fedmeta --pipelines femnist_fedmeta``.

It takes what ``kedro run`` takes. The configuration is in ./conf, or where
``--conf-source`` says; data and tracked runs are in the current folder.
"""

from typing import Any

from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Run it."""
    configure_project("fedmeta")
    from fedmeta.cli import run  # noqa: PLC0415

    return run(*args, **kwargs)


if __name__ == "__main__":
    main()
