"""`headwater content email`: a segment's e-mails as lines of JSON."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from headwater.terminal import Json, opened, print_json
from jobs.text_model import configured_model

NO_FILE = "--json tells how many there were, so the e-mails themselves must go elsewhere: add --out FILE"


def email(
    ctx: typer.Context,
    segment: Annotated[
        Path, typer.Option(help="Users: one id a line, or a .csv with a column user.", exists=True, dir_okay=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Add the lines to this file; users that it has are left out.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=20, help="Items for each user.")] = 6,
    locale: Annotated[str | None, typer.Option(help="Language; by default HEADWATER_CONTENT_LOCALE.")] = None,
    json: Json = False,
) -> None:
    """What to recommend to each user of a segment, with subject, notification and texts: one line of JSON for each.

    Interrupted, it goes on where it was, if it has --out. Erased users get no line. The slates are published, so that what
    users do next can be joined to them: send the line's `slate` with it.
    """
    # not before it is called: it loads the models' libraries
    from headwater.emails import Emails, Lines, read_segment, total

    if json and out is None:
        raise typer.BadParameter(NO_FILE, param_hint="--json")
    users = read_segment(segment)
    with opened(ctx.obj) as context:
        model = configured_model(context.settings, context.reporter)
        if model is not None and not model.open():  # a warning has said why; templates write the lines
            model = None
        emails = Emails(context, limit, locale, model)
        try:
            emails.open()
            lines = None if out is None else Lines(out, emails.erased)
            began, outcomes = time.monotonic(), []
            with context.reporter.task("e-mails", max(1, len(users))) as task:
                for made, outcome in emails.run(users, set() if lines is None else lines.users):
                    if lines is not None:
                        lines.write(made)
                    else:
                        sys.stdout.buffer.write(msgspec.json.Encoder().encode_lines(made))
                        sys.stdout.flush()
                    outcomes.append(outcome)
                    written = sum(one.written for one in outcomes)
                    task.advance(
                        outcome.written + outcome.already + outcome.erased + outcome.nothing + outcome.banned,
                        f"{written / (time.monotonic() - began):,.0f} users/s",
                    )
        finally:
            emails.close()
    summed, took_s = total(outcomes), time.monotonic() - began
    rate = round(summed.written / took_s, 1)
    if json:
        print_json({**msgspec.to_builtins(summed), "users_per_s": rate, "took_s": round(took_s, 2)})
        return
    told = f"{summed.written:,} e-mails in {took_s:,.1f} s ({rate:,.1f} users/s)"
    rest = {"already written": summed.already, "erased": summed.erased, "nothing to recommend": summed.nothing}
    rest["left out: subject or notification would say a word of HEADWATER_CONTENT_BANNED"] = summed.banned
    print("; ".join([told, *(f"{count:,} {what}" for what, count in rest.items() if count)]), file=sys.stderr)
