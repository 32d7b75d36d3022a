"""The plan: the contract between planning, training and prediction. Readable without torch.

A plan is a JSON file that a person reads and edits. A configuration may name another one in
`inherits_from` and then holds only what differs from it. Reading resolves that, checks every value, and
refuses a wrong key, type or combination with the path of the key and the choices there are.
"""

from kneeformer.plans.plan import Plan
from kneeformer.plans.reading import override, parse_plan, read_dataset_plan, read_fold_plan, read_plan

__all__ = ["Plan", "override", "parse_plan", "read_dataset_plan", "read_fold_plan", "read_plan"]
