"""``ft plan`` says what a run needs and starts nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from ft_assets.assets import training_estimate
from tests.support.tiny_model import MAX_LENGTH
from tests.support.tiny_pipeline import NAME, clean_environment


def test_a_plan_without_data_says_nothing_of_the_data(tiny, ft):
    call = ft(tiny, "plan", NAME, "--json")
    assert call.exit_code == 0, call.stderr
    plan = call.json
    assert (plan["pipeline"], plan["partition"], plan["backend"]) == (NAME, "drop-1", "cpu")
    assert plan["fits"]
    assert plan["memory_gib"]["available"] == 1.0
    for unknown in ("rows", "rows_dropped", "steps", "tokens", "hours", "cost"):
        assert plan[unknown] is None
    assert plan["data"].startswith("not materialized")
    assert {path.name for path in tiny.home.iterdir()} == {"dagster"}


def test_the_parameters_are_those_of_the_model(tiny, ft, tiny_base_model):
    from transformers import AutoModelForCausalLM

    plan = ft(tiny, "plan", NAME, "--json").json
    model = AutoModelForCausalLM.from_pretrained(tiny_base_model)
    assert plan["parameters"] == plan["trainable_parameters"] == model.num_parameters()


def test_settings_are_for_this_plan_alone(tiny, ft):
    given = ["--set", "training.algorithm=osft", "--set", "kubernetes.memory=500Gi"]
    plan = ft(tiny, "plan", NAME, *given, "--json").json
    assert plan["algorithm"] == "osft"
    assert "low-rank factors" in plan["trainable"]
    assert plan["pod"]["container_config"]["resources"]["limits"]["memory"] == "500Gi"
    assert ft(tiny, "plan", NAME, "--json").json["algorithm"] == "sft"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.no_such=1", "--set training.no_such: there is no such parameter"),
        ("dataset.split=0.5", "--set dataset.split: there is no such parameter"),
        ("training.num_epochs=0", "--set: training.num_epochs"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(tiny, ft, setting, said):
    call = ft(tiny, "plan", NAME, "--set", setting, "--json")
    assert call.exit_code == 1
    assert call.json["error"].startswith(said)


def test_a_run_that_does_not_fit_gets_remedies(tiny, ft):
    plan = ft(tiny, "plan", NAME, "--set", "kubernetes.memory=300Mi", "--json").json
    assert plan["verdict"] == "too_large"
    assert any("kubernetes.memory" in remedy for remedy in plan["remedies"])


def test_what_a_run_would_refuse_is_part_of_the_plan_before_there_are_rows(tiny, ft):
    plan = ft(tiny, "plan", NAME, "--set", "training.use_liger=true", "--json").json
    (refused,) = plan["refused"]
    assert refused.startswith("training.use_liger: True cannot be honoured by the cpu backend")
    assert ft(tiny, "plan", NAME, "--json").json["refused"] == []


REFUSED = {
    "a warm-up that never ends": (
        ["training.warmup_steps=5"],
        "training.warmup_steps (5) is not below the run's 4 optimizer steps",
    ),
    "steps to profile that are never done": (
        ["training.profiler_steps=9"],
        "training.profiler_steps_start: 0",
    ),
    "a batch above the rows": (
        ["training.effective_batch_size=1000"],
        "training.effective_batch_size (1000) is larger than the training set",
    ),
    "rows above the model's positions": (
        [f"training.max_seq_len={MAX_LENGTH + 1}", f"training.max_tokens_per_gpu={2 * MAX_LENGTH}"],
        f"training.max_seq_len ({MAX_LENGTH + 1}) is above the {MAX_LENGTH} positions",
    ),
    "parts of a batch that do not fit": (
        ["training.micro_batch_size=3"],
        "training.micro_batch_size (3) does not divide effective_batch_size (8)",
    ),
    "a tracker's parameter alone": (
        ["training.wandb_run_name=mine"],
        "training.wandb_run_name has no effect without training.wandb_project",
    ),
    "a package that is not installed": (
        ["training.wandb_project=mine"],
        "training.wandb_project needs the package wandb",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_plan_refuses_in_the_words_in_which_the_run_is_refused(trained_once, ft, case):
    changes, said = REFUSED[case]
    settings = [part for change in changes for part in ("--set", change)]
    (refused,) = ft(trained_once, "plan", NAME, *settings, "--json").json["refused"]
    assert refused.startswith(said)
    run = ft(trained_once, "run", NAME, "--json", "--select", "finetuned_model", *settings)
    assert run.exit_code == 1
    assert refused in run.json["error"]


GPU = ["--set", "training.backend=auto", "--set", "kubernetes.gpus_per_worker=1"]
GPU += ["--set", "training.lr_scheduler=cosine", "--set", "training.precision=auto"]
GPU += ["--set", "training.threads=0"]


def test_a_batch_that_leaves_processes_without_a_row_is_refused(tiny, ft):
    given = [*GPU, "--set", "kubernetes.gpus_per_worker=16"]
    (refused,) = ft(tiny, "plan", NAME, *given, "--json").json["refused"]
    assert refused.startswith("training.effective_batch_size (8) is below the number of training")


def test_what_does_not_fit_a_gpu_is_refused_and_what_does_not_fit_a_pod_is_not(tiny, ft):
    given = [*GPU, "--set", "kubernetes.gpu_memory=100Mi"]
    plan = ft(tiny, "plan", NAME, *given, "--json").json
    (refused,) = plan["refused"]
    assert refused.startswith("the check fits_memory stops the training: about ")
    assert refused.endswith(plan["remedies"][0])
    assert (
        ft(tiny, "plan", NAME, "--set", "kubernetes.memory=300Mi", "--json").json["refused"] == []
    )


def test_a_refusal_stands_in_a_line_of_its_own(tiny, ft):
    call = ft(tiny, "plan", NAME, "--set", "training.use_liger=true", COLUMNS="200")
    assert call.exit_code == 0
    assert (
        "\nrefused: training.use_liger: True cannot be honoured by the cpu backend" in call.stdout
    )


def test_a_plan_for_a_gpu_says_that_a_run_here_would_take_the_cpu(tiny, ft):
    plan = ft(tiny, "plan", NAME, *GPU, "--json", CUDA_VISIBLE_DEVICES="").json
    assert (plan["backend"], plan["refused"]) == ("instructlab-training", [])
    (said,) = [line for line in plan["warnings"] if "this machine has none" in line]
    assert said.startswith("the plan is for an NVIDIA GPU (kubernetes.gpus_per_worker: 1)")
    assert said.endswith("trains with the backend cpu, which --set training.backend=cpu plans")

    named = [*GPU, "--set", "training.backend=instructlab-training"]
    plan = ft(tiny, "plan", NAME, *named, "--json", CUDA_VISIBLE_DEVICES="").json
    (said,) = [line for line in plan["warnings"] if "this machine has none" in line]
    assert said.endswith("a run that is started here is refused")


def test_on_kubernetes_the_pod_has_the_gpus_that_it_asks_for(tiny, ft):
    given = {"CUDA_VISIBLE_DEVICES": "", "FT_EXECUTOR": "k8s"}
    plan = ft(tiny, "plan", NAME, *GPU, "--json", **given).json
    assert plan["backend"] == "instructlab-training"
    assert not any("this machine" in line for line in plan["warnings"])


def test_what_a_run_here_is_refused_for_is_said_beside_the_plan_for_a_gpu(tiny, ft):
    given = (*GPU, "--set", "training.use_liger=true", "--json")
    plan = ft(tiny, "plan", NAME, *given, CUDA_VISIBLE_DEVICES="").json
    assert plan["refused"] == []
    (said,) = [line for line in plan["warnings"] if "this machine has none" in line]
    assert "a run that is started here is refused: training.use_liger: True cannot be" in said


def test_several_nodes_are_planned_for_a_cluster(tiny, ft):
    plan = ft(tiny, "plan", NAME, "--set", "kubernetes.workers=2", "--json").json
    assert plan["refused"] == []
    (said,) = [line for line in plan["warnings"] if "started here" in line]
    assert said.startswith("the plan is for a cluster, and a run that is started here is refused")
    assert "kubernetes.workers: 2: several nodes are started on a Kubernetes cluster" in said


def test_what_several_nodes_cannot_have_is_refused(tiny, ft):
    given = ("--set", "kubernetes.workers=2", "--set", "kubernetes.priority_class=high")
    (said,) = ft(tiny, "plan", NAME, *given, "--json").json["refused"]
    assert "a TrainJob's pods cannot be given priority_class" in said


def test_on_a_machine_with_a_gpu_auto_takes_it_as_the_run_does(tiny, ft, monkeypatch):
    monkeypatch.setattr(training_estimate, "has_nvidia_gpu", lambda: True)
    given = [*GPU, "--set", "kubernetes.gpus_per_worker=0"]
    plan = ft(tiny, "plan", NAME, *given, "--json").json
    assert plan["backend"] == "instructlab-training"
    assert any("it needs a GPU for each process" in line for line in plan["refused"])


def test_for_people_it_is_tables_and_the_pod_as_yaml(tiny, ft):
    call = ft(tiny, "plan", NAME, COLUMNS="200")
    assert call.exit_code == 0
    for part in ("weights", "gradients", "optimizer", "activations", "logits", "buffers"):
        assert part in call.stdout
    pod = call.stdout.split("pod that will be asked for:\n")[1]
    assert yaml.safe_load(pod)["container_config"]["resources"]["requests"]["cpu"] == "1"


def test_after_a_run_rows_steps_and_speed_are_those_of_the_run(trained, ft):
    plan = ft(trained.pipeline, "plan", NAME, "--json").json
    outcome = trained.pipeline.artifact("finetuned_model").manifest.metadata["outcome"]
    assert (plan["rows"], plan["steps"]) == (outcome["rows"], outcome["steps"])
    assert (plan["tokens"], plan["trained_tokens"]) == (
        outcome["tokens"],
        outcome["trained_tokens"],
    )
    assert plan["rows_dropped"] == outcome["rows_too_long"] + outcome["rows_untrained"]
    assert plan["speed_from"] == "the run before"
    assert plan["tokens_per_second"] == pytest.approx(outcome["tokens_per_second"], abs=0.1)
    assert plan["cost"] is None


def test_another_precision_has_another_speed(trained_once, ft):
    given = ["--set", "training.precision=bf16"]
    plan = ft(trained_once, "plan", NAME, *given, "--json").json
    assert plan["speed_from"].startswith("assumed")
    again = ["--set", "training.learning_rate=2e-3"]
    assert ft(trained_once, "plan", NAME, *again, "--json").json["speed_from"] == "the run before"


def test_a_report_of_another_base_model_is_not_used(trained_once, ft, tmp_path):
    from tests.support.tiny_model import make_tiny_model

    other = make_tiny_model(tmp_path / "other", seed=1)
    plan = ft(trained_once, "plan", NAME, "--set", f"training.base_model={other}", "--json").json
    assert plan["rows"] is None
    assert plan["data"].startswith("the token report is of another base model")


@pytest.mark.slow
def test_no_torch_is_imported(tiny):
    program = (
        "import sys\n"
        "from ft_assets.cli import main\n"
        "try: main(['plan', 'tiny', '--json'])\n"
        "finally: print(*sorted({'torch', 'transformers'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(tiny.environment),
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr.split() == []
