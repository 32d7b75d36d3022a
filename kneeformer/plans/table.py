"""The plan as text: the recommended configuration, its previous stages, their costs and the reasons."""

from textwrap import wrap

from kneeformer.config import Configuration, Cost
from kneeformer.config.settings import by
from kneeformer.plans.plan import Plan
from kneeformer.tasks.registry import registered

_HEADER = ("configuration", "task", "previous stage", "crop covers", "parameters", "step", "training")


def plan_table(plan: Plan) -> str:
    """Lines of text, at most 110 characters wide where names are short.

    The recommended configuration and each stage before it have a row, the others are named. If none is
    recommended, each has a row.
    """
    name = recommended(plan)
    shown = [*plan.configurations] if name is None else [name, *plan.previous_stages(name)]
    rows = [_HEADER, *(_row(each, plan.configurations[each]) for each in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if others := [each for each in plan.configurations if each not in shown]:
        lines += wrap(f"also planned: {', '.join(others)}", 110, subsequent_indent="    ")
    if name is not None:
        lines += ["", f"recommended: {name}"]
        lines += [f"    {what:10}{why}" for what, why in decisions(plan.configurations[name])]
    return "\n".join(lines)


def recommended(plan: Plan) -> str | None:
    """The configuration to begin with, by the task of the plan's first one; None if the plan lacks it."""
    first = next(iter(plan.configurations.values()))
    name = registered(first.task).recommended
    return name if name in plan.configurations else None


def training_hours(configuration: Configuration) -> float | None:
    """Hours of all steps, measured or else estimated; None if neither is known."""
    cost, _ = _cost(configuration)
    if cost is None or not configuration.by_steps:
        return None
    settings = configuration.training
    return settings.epochs * settings.steps_per_epoch * cost.seconds_per_step / 3600


def _row(name: str, configuration: Configuration) -> tuple[str, ...]:
    evidence = configuration.evidence
    cost, _ = _cost(configuration)
    return (
        name,
        configuration.task,
        configuration.previous_stage or "",
        "" if evidence is None or cost is None else f"{evidence.crop_share_of_volume:.0%}",
        "" if evidence is None or not evidence.parameters else f"{evidence.parameters / 1e6:.1f} M",
        "" if cost is None else f"{cost.seconds_per_step:.2f} s",
        _length(configuration),
    )


def _length(configuration: Configuration) -> str:
    if not configuration.by_steps:
        return "closed form"
    hours, training = training_hours(configuration), configuration.training
    return f"{training.epochs} x {training.steps_per_epoch} steps" if hours is None else duration(hours)


def decisions(configuration: Configuration) -> list[tuple[str, str]]:
    """Names of settings of a configuration, each with its value and reason in words."""
    rows = configuration.decisions()
    cost, how = _cost(configuration)
    hours = training_hours(configuration)
    if cost is not None:
        rows.append(
            ("step", f"{cost.seconds_per_step:.2f} s, {cost.memory_mb:,.0f} MB on {cost.device}, {how}")
        )
    if hours is not None:
        steps = by((configuration.training.epochs, configuration.training.steps_per_epoch))
        rows.append(("training", f"{steps} steps, about {duration(hours)} and validation"))
    return rows


def _cost(configuration: Configuration) -> tuple[Cost | None, str]:
    evidence = configuration.evidence
    if evidence is None:
        return None, ""
    return (evidence.measured, "measured") if evidence.measured else (evidence.estimate, "estimated")


def duration(hours: float) -> str:
    """Hours in words; fewer than two as minutes."""
    minutes = round(60 * hours)
    return "a minute" if minutes < 2 else f"{minutes} min" if hours < 2 else f"{hours:.0f} h"
