"""The `loadctl` command: finds a command by name and turns errors into one line and an exit code.

A command is imported only when it is asked for, so that `status` on a small gateway does not pay
for pydantic.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from loadctl.errors import EXIT_NO, LoadctlError

COMMANDS = {
    "backup": ("loadctl.cli.backup:backup", "Save site files, maps and journals in one file."),
    "check": (
        "loadctl.cli.check:check",
        "Validate a site file; print proof and bus plan.",
    ),
    "demo": ("loadctl.cli.demo:demo", "Run a simulated site with a live view."),
    "devices": ("loadctl.cli.devices:devices", "List the device models and what they can do."),
    "events": ("loadctl.cli.events:events", "Say what happened, last night or just now."),
    "export": ("loadctl.cli.export:export", "Write the journal to a CSV or Parquet file."),
    "failsafe": (
        "loadctl.cli.failsafe:failsafe",
        "Bring the chargers of a site down that does not run.",
    ),
    "limit": ("loadctl.cli.limit:limit", "Limit a circuit from outside while its site runs."),
    "metrics": ("loadctl.cli.metrics:metrics", "Serve running sites to Prometheus."),
    "recorder": ("loadctl.cli.recorder:recorder", "Record events and history of a site."),
    "replay": ("loadctl.cli.replay:replay", "Replay a recording and compare every answer."),
    "restore": ("loadctl.cli.backup:restore", "Put back what a backup holds."),
    "run": ("loadctl.cli.run:run", "Run a site in the foreground."),
    "sim": ("loadctl.cli.sim:sim", "Run only the simulated devices of a site."),
    "status": ("loadctl.cli.show:status", "Show one snapshot of a running site."),
    "timing": ("loadctl.cli.timing:timing", "Measure the timing of the scan on this machine."),
    "top": ("loadctl.cli.top:top", "Watch a running site."),
    "tune": ("loadctl.cli.tune:tune", "Change values of a running site, within its bounds."),
    "whatif": ("loadctl.cli.whatif:whatif", "Say what given inputs would settle at, and why."),
}


class LazyGroup(click.Group):
    """A group whose commands are named in COMMANDS and loaded on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="loadctl")
def cli() -> None:
    """Share a supply among EV chargers on RS-485, locally and within every fuse."""


class OutputError(OSError):
    """Standard output takes nothing: a full disk, a device that is gone."""


class Output(io.FileIO):
    """Standard output whose errors can be told from those of other files."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def use_output() -> None:
    """A terminal that lacks a character gets "?"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(Output(stream.fileno(), "w", closefd=False)),
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )


def main() -> None:
    """Run the command line; every error that we raise on purpose is printed line by line."""
    use_output()
    try:
        try:
            cli.main(prog_name="loadctl")
        except SystemExit:
            if sys.stdout is not None:
                sys.stdout.flush()  # what does not get out is to be known before the exit code is
            raise
    except LoadctlError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except (BrokenPipeError, OutputError) as error:
        # The reader of our output went away (`loadctl check ... | head`): nothing is left to say.
        if isinstance(error, OutputError):
            click.echo(f"the output cannot be written: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_NO)
