"""The plan as a whole: a dataset, and the configurations planned for it."""

import json
from typing import Any, Literal

from pydantic import Field, InstanceOf, SerializeAsAny, model_validator

from kneeformer.config import Configuration, DatasetSettings
from kneeformer.config.ranges import Name
from kneeformer.config.settings import Settings
from kneeformer.errors import KneeformerError

VERSION: Literal[1] = 1  # of the file's format


class Plan(Settings):
    """The settings of a dataset and of all configurations planned for it.

    Its configurations are checked already, by the settings of their tasks: see kneeformer.plans.reading.
    """

    version: Literal[1] = VERSION
    plans_name: Name = "kfPlans"
    dataset: DatasetSettings
    configurations: dict[Name, SerializeAsAny[InstanceOf[Configuration]]] = Field(
        min_length=1, max_length=200
    )

    @model_validator(mode="after")
    def _configurations_suit_the_dataset(self) -> "Plan":
        for name, configuration in self.configurations.items():
            if (fault := configuration.fault_for(self.dataset)) is not None:
                raise ValueError(f"{name}.{fault}")
        return self

    @model_validator(mode="after")
    def _previous_stages_exist(self) -> "Plan":
        for name, configuration in self.configurations.items():
            stage = configuration.previous_stage
            if stage is not None and (stage == name or stage not in self.configurations):
                others = ", ".join(n for n in self.configurations if n != name)
                raise ValueError(f"{name}.previous_stage {stage!r} is none of {others or '(no others)'}")
            if name in self.previous_stages(name):
                raise ValueError(f"{name}.previous_stage {stage!r} comes after {name} itself")
        return self

    def previous_stages(self, name: str) -> list[str]:
        """Names of the stages before a configuration, nearest first; a circle is followed once."""
        found: list[str] = []
        stage = self.configurations[name].previous_stage
        while stage is not None and stage in self.configurations and stage not in found:
            found.append(stage)
            stage = self.configurations[stage].previous_stage
        return found

    def configuration(self, name: str) -> Configuration:
        """A configuration by name. Raises KneeformerError: the plan has none of that name."""
        if name not in self.configurations:
            raise KneeformerError(
                f"{self.plans_name} has no configuration {name!r}; it has {', '.join(self.configurations)}"
            )
        return self.configurations[name]

    def to_text(self) -> str:
        """The plan as JSON; a configuration that inherits is written as its differences from its parent."""
        content = self.model_dump(mode="json")
        whole = content["configurations"]
        content["configurations"] = {
            name: {"inherits_from": c["inherits_from"], **_difference(c, whole[c["inherits_from"]])}
            if c["inherits_from"]
            else c
            for name, c in whole.items()
        }
        return json.dumps(content, indent=2) + "\n"

    def without_evidence(self) -> "Plan":
        """Return the plan without its evidence."""
        bare = {n: c.model_copy(update={"evidence": None}) for n, c in self.configurations.items()}
        return self.model_copy(update={"configurations": bare})

    def compatibility_key(self) -> tuple[object, ...]:
        """Settings that the folds of one trained model must share to be averaged.

        The scheme is one of them for the order of the network's outputs: dicts compare equal in any order.
        """
        (configuration,) = self.configurations.values()
        return self.dataset, self.dataset.scheme, configuration.compatibility_key()

    def with_only(self, name: str) -> "Plan":
        """The plan of one trained model: its configuration alone, nothing inherited."""
        alone = self.configuration(name).model_copy(update={"inherits_from": None, "previous_stage": None})
        return self.model_copy(update={"configurations": {name: alone}})


def _difference(own: dict[str, Any], parent: dict[str, Any]) -> dict[str, Any]:
    return {
        k: _difference(v, parent[k]) if isinstance(v, dict) and isinstance(parent.get(k), dict) else v
        for k, v in own.items()
        if v != parent.get(k)
    }
