"""The systemd units and the Helm chart: read by systemd where it is, and by what they must say."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import proxy
from proxy.settings import Settings
from tests.support.env_example import variables
from tests.support.helm import render

ROOT = Path(proxy.__file__).parent.parent
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.*"))
CHART = ROOT / "deploy" / "helm" / "poe-openai-proxy"
GRACE = Settings(_env_file=None).shutdown_grace_seconds


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(ROOT / "deploy" / "systemd" / name, encoding="utf-8")
    return parser


def test_a_stop_gives_replies_their_grace_and_reaches_the_server_alone() -> None:
    service = unit("poe-openai-proxy.service")["Service"]
    assert service["Type"] == "exec"
    # The embedded database is a process of the same unit: it must outlive the drain.
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > GRACE + 120


def test_the_service_may_write_its_data_and_nothing_else() -> None:
    service = unit("poe-openai-proxy.service")["Service"]
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["SystemCallFilter"] == "@system-service"
    assert "AF_INET" in service["RestrictAddressFamilies"]
    assert service["StateDirectory"] == "poe-openai-proxy"


def test_a_backup_is_made_every_night_and_fourteen_are_kept() -> None:
    assert unit("poe-openai-proxy-backup.timer")["Timer"]["OnCalendar"].startswith("*-*-*")
    service = unit("poe-openai-proxy-backup.service")["Service"]
    assert "proxy export" in service["ExecStart"]
    assert "head -n -14" in service["ExecStartPost"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_reads_the_units(tmp_path: Path) -> None:
    """`verify` wants the programs to exist, so others take their place."""
    for path in UNITS:
        text = path.read_text(encoding="utf-8")
        text = text.replace("/opt/poe-openai-proxy/.venv/bin/proxy", "/bin/true")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / path.name) for path in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


VARIANTS: list[dict[str, Any]] = [
    {},
    {"existingSecret": "mine"},
    {"secrets": {"PROXY_API_KEYS": "a: b\n'c\""}, "podMonitor": {"enabled": True}},
    {"image": {"digest": "sha256:" + "0" * 64}, "disruptionBudget": {"enabled": False}},
    {"ingress": {"enabled": True, "className": "nginx", "annotations": {"a/b": "off"}}},
    {"ingress": {"enabled": True, "tlsSecret": "tls"}, "nodeSelector": {"disk": "ssd"}},
]


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


@pytest.mark.parametrize("values", VARIANTS)
def test_the_chart_renders_to_objects_that_belong_together(values: dict[str, Any]) -> None:
    objects = render(CHART, values)
    assert all(
        {"apiVersion", "kind", "metadata", "spec"} - set(each) <= {"spec"} for each in objects
    )
    pod = of_kind(objects, "Deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"].items()
    assert of_kind(objects, "Service")["spec"]["selector"].items() <= labels
    secret = container["envFrom"][0]["secretRef"]["name"]
    if "existingSecret" in values:
        assert secret == "mine"
        assert "Secret" not in {each["kind"] for each in objects}
    else:
        assert of_kind(objects, "Secret")["metadata"]["name"] == secret
    if secrets := values.get("secrets"):
        assert of_kind(objects, "Secret")["stringData"] == secrets
        monitor = of_kind(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]
        assert monitor["port"] in {port["name"] for port in container["ports"]}
    assert ("@sha256:" in container["image"]) == ("image" in values)
    assert ("PodDisruptionBudget" in {each["kind"] for each in objects}) == (
        "disruptionBudget" not in values
    )


def test_a_pod_drains_before_it_goes_and_is_restarted_for_itself_alone() -> None:
    pod = of_kind(render(CHART), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    grace = {each["name"]: each["value"] for each in container["env"]}
    assert int(pod["terminationGracePeriodSeconds"]) == (
        int(grace["PROXY_SHUTDOWN_GRACE_SECONDS"]) + 15
    )
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["timeoutSeconds"] > 1


def test_the_chart_brings_no_database_and_no_rights() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert "dependencies" not in chart
    assert chart["appVersion"] == proxy.__version__
    pod = of_kind(render(CHART), "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_every_setting_that_the_files_name_exists() -> None:
    known = set(variables())
    for path in [*UNITS, CHART / "values.yaml", *(CHART / "templates").glob("*")]:
        named = set(re.findall(r"\b(?:PROXY|OPENAI|POE)_[A-Z_]+\b", path.read_text("utf-8")))
        assert named <= known, path.name
