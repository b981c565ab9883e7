"""The command line: one file a verb, no logic. Importing it imports nothing heavy; each verb imports what it needs."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vqbench.cli import (
    baseline,
    card,
    compare,
    data,
    doctor,
    export,
    gate,
    history,
    pairs,
    pocket,
    report,
    run,
    schema,
    tokens,
    train,
)
from vqbench.cli import list as listing
from vqbench.cli.streams import forgive
from vqbench.errors import ConfigError, ManyErrors, VqbenchError
from vqbench.extras import missing_extra
from vqbench.signals import Ended, end_by_signals

BAD_INPUT = 2
BUG = 70


class _Verbs(TyperGroup):
    """Turns the user's mistakes into messages and exit codes; a bug keeps its traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for place, argument in enumerate(args):
            if argument == "" or (argument.startswith("--") and argument.endswith("=")):
                # As a path it would mean the folder one stands in.
                after = f" after {args[place - 1]}" if place and not argument else ""
                _complain(ConfigError(f"an argument is empty{after}", where=argument or None, fix="leave it out"))
                raise typer.Exit(BAD_INPUT)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VqbenchError as error:
            for one in error.errors if isinstance(error, ManyErrors) else (error,):
                _complain(one)
            raise typer.Exit(BAD_INPUT) from None
        except ModuleNotFoundError as error:
            missing = missing_extra(error)
            if missing is None:
                raise
            _complain(missing)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt as ended:
            print("interrupted: what is finished is kept, the same command resumes", file=sys.stderr)
            number = ended.signal if isinstance(ended, Ended) else signal.SIGINT
            raise typer.Exit(128 + number) from None


def _complain(error: VqbenchError) -> None:
    from vqbench.report.format import complaint

    print(f"error: {complaint(error)}", file=sys.stderr)


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"vqbench {version('vqbench')}")
        raise typer.Exit


@app.callback()
def vqbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Benchmark VQVAE speech tokenizers, compare them, and gate their releases.

    Exit codes: 0 done or passed, 1 a gate failed, 2 bad input, 3 too little data to decide, 70 a bug.
    """


# One line a verb, in the order of `vqbench --help`.
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("gate")(gate.gate)
app.command("history")(history.history)
app.command("report")(report.report)
app.command("card")(card.card)
app.add_typer(baseline.app, name="baseline")
app.command("train")(train.train)
app.command("export")(export.export)
app.add_typer(data.app, name="data")
app.add_typer(pairs.app, name="pairs")
app.add_typer(pocket.app, name="pocket")
app.command("doctor")(doctor.doctor)
app.command("list")(listing.list_)
app.command("schema")(schema.schema)
app.command("tokens")(tokens.tokens)


def main() -> None:
    """Runs the command line.

    Characters that the terminal cannot show are replaced, and who no longer listens (`| head`) ends nothing.
    """
    end_by_signals()
    sys.stdout, sys.stderr = forgive(sys.stdout), forgive(sys.stderr)
    try:
        app()
    except Exception:
        # Python's own exit code for a crash is 1, which here says that a gate failed.
        traceback.print_exc()
        sys.exit(BUG)
