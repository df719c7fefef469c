"""The ``neurig`` command.

Each command is in the module of what it works on, and imports what it needs when it runs, so that ``neurig --help`` is
there at once.
"""

from typing import Any

import click

from neurig import ModelError
from neurig.cli import amp_training, amps, capture, evaluation, files, install, ports, predictors, rig, training


class _Commands(click.Group):
    """Turns the failures that a user can cause into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModelError as problem:
            raise click.ClickException(str(problem)) from None
        except BrokenPipeError:  # `neurig … | head`: click ends without a word
            raise
        except OSError as problem:
            named = f"{problem.filename}: {problem.strerror}" if problem.filename and problem.strerror else str(problem)
            raise click.ClickException(named) from None


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import neurig

        click.echo(f"neurig {neurig.__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Instruments out of neural amps and gesture predictors."""


for command in (amps.render, amps.bench, evaluation.predict, evaluation.evaluate, evaluation.compare,
                files.info, files.convert, files.export,
                predictors.init, predictors.run, predictors.step, ports.ports, training.dataset, training.train,
                training.test_mdrnn, capture.capture, rig.serve, rig.demo, install.install, install.package):
    main.add_command(command)
training.train.add_command(amp_training.amp)
