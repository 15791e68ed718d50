"""The quota of a container's processor, from the files of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from ft_assets.training.in_process.cpu_quota import cpu_quota

CGROUPS = "sys/fs/cgroup"


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A file system in which a process is in these groups, and these files say their limits."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("said", "quota"),
    [("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("max 100000\n", None), ("", None)],
)
def test_a_container_sees_its_own_group_as_the_root(tmp_path, said, quota):
    root = system(tmp_path, "0::/\n", {f"{CGROUPS}/cpu.max": said})
    assert cpu_quota(root) == quota


def test_a_service_of_the_machine_has_its_group_below_the_root(tmp_path):
    limits = {f"{CGROUPS}/system.slice/dagster.service/cpu.max": "150000 100000\n"}
    assert cpu_quota(system(tmp_path, "0::/system.slice/dagster.service\n", limits)) == 1.5


def test_a_path_of_the_host_that_the_container_does_not_see_is_its_root(tmp_path):
    limits = {f"{CGROUPS}/cpu.max": "400000 100000\n"}
    assert cpu_quota(system(tmp_path, "0::/kubepods.slice/pod1/container1\n", limits)) == 4.0


def test_the_tightest_of_the_groups_above_counts(tmp_path):
    limits = {
        f"{CGROUPS}/kubepods/cpu.max": "3000000 100000\n",
        f"{CGROUPS}/kubepods/pod1/cpu.max": "200000 100000\n",
        f"{CGROUPS}/kubepods/pod1/container1/cpu.max": "max 100000\n",
    }
    assert cpu_quota(system(tmp_path, "0::/kubepods/pod1/container1\n", limits)) == 2.0


@pytest.mark.parametrize(("quota_us", "quota"), [("250000\n", 2.5), ("-1\n", None)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "/docker/0123"])
def test_version_1_has_a_file_for_the_quota_and_one_for_its_period(
    tmp_path, quota_us, quota, mount, group
):
    folder = f"{CGROUPS}/{mount}{group}"
    root = system(
        tmp_path,
        f"5:memory:/docker/0123\n4:cpu,cpuacct:{group or '/'}\n3:cpuset:/\n0::/\n",
        {f"{folder}/cpu.cfs_quota_us": quota_us, f"{folder}/cpu.cfs_period_us": "100000\n"},
    )
    assert cpu_quota(root) == quota


def test_a_system_without_control_groups_has_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


def test_this_machine_says_something_or_nothing():
    quota = cpu_quota()
    assert quota is None or quota > 0
