"""CPU seconds of a training step and of predicting one crop, by networks as they are planned, on one core.

    python tests/benchmarks/step_of_a_plan.py fp32
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python tests/benchmarks/step_of_a_plan.py fp32

The second line computes as a machine without AVX-512 does. Voxels are random; best of three each.
"""

import sys
import time

import torch
from torch import nn

from kneeformer.config import CropConfiguration
from kneeformer.engine.step_cost import measure_step
from kneeformer.networks.compute import Precision, autocast, to_device
from kneeformer.planning.budget import Budget
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.what_if import plan_what_if

CPU = torch.device("cpu")
KNEE = (36, 320, 320), (3.11, 0.4375, 0.4375)
PLANNED = {
    "hippocampus": plan_what_if((36, 50, 35), (1.0, 1.0, 1.0), 160, 0, 2, Budget("cpu", 8.0)),
    "small knee": plan_what_if((24, 128, 128), (4.67, 1.09, 1.09), 12, 0, 6, Budget("cpu", 8.0)),
    "full knee": plan_what_if(*KNEE, 48, 0, 6, Budget("cpu", 8.0)),
    "full knee, to be pre-trained": plan_what_if(*KNEE, 12, 100, 6, Budget("cpu", 8.0)),
}


def main(precision: Precision) -> None:
    torch.set_num_threads(1)
    for title, plan in PLANNED.items():
        name = "3d_mae" if "3d_mae" in plan.configurations else "3d_vit"
        configuration = plan.configuration(name)
        assert isinstance(configuration, CropConfiguration)
        training = configuration.training.model_copy(update={"precision": precision})
        configuration = configuration.model_copy(update={"training": training})
        task = task_named(configuration.task)
        network = task.network(plan.dataset, configuration)
        objective = task.objective(plan.dataset, configuration)
        steps = [measure_step(network, objective, 1, configuration, CPU) for _ in range(3)]
        step = min(cost.seconds_per_step for cost in steps)
        line = f"{title}, {name}: {training.batch_size} x {training.crop}: step {step:.3f} s"
        if configuration.masking is None:
            line += f", prediction {prediction_seconds(network, configuration):.3f} s"
        print(line, flush=True)


def prediction_seconds(network: nn.Module, configuration: CropConfiguration) -> float:
    training, seconds = configuration.training, []
    network = to_device(network, CPU).eval()
    image, to_patient = torch.randn(1, 1, *training.crop), torch.eye(3, 4)[None]
    for _ in range(4):
        started = time.process_time()
        with torch.inference_mode(), autocast(CPU, training.precision):
            network(image, to_patient)
        seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    main("bf16" if "bf16" in sys.argv else "fp32")
