"""The one operator of this project: a step as a pod, on a cluster or as a process of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import PodLaunchFailedException
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client.exceptions import ApiException
from kubernetes.client.models import V1Pod
from kubernetes.config import ConfigException

from include.step_specs import STARTUP, Data, PodRuntime, StepSpec
from include.termination import one_line
from plugins import pod_spec
from plugins.data_docs_link import DataDocsLink, PredictionsLink
from plugins.pod_ending import Ending
from plugins.pod_process import PodProcess
from plugins.run_parameters import refuse_unknown

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

BLANK = re.compile(r"--[a-z-]+=")
NOT_IN_A_NAME = re.compile(r"[^a-z0-9-]+")


def chosen_runtime() -> PodRuntime:
    """The runtime of this deployment, when a task runs; a cluster unless the Variable says otherwise."""
    value = Variable.get("nightshift_pod_runtime", default=PodRuntime.KUBERNETES.value)
    try:
        return PodRuntime(value)
    except ValueError:
        known = " or ".join(PodRuntime)
        raise AirflowFailException(f"Airflow Variable nightshift_pod_runtime is {value!r}; set {known}") from None


class StepPod(KubernetesPodOperator):  # type: ignore[misc]
    """A step as a pod.

    `options` become `--name=value` arguments; one that renders to nothing is left out. Returns the step's result (its
    termination message). Raises `AirflowFailException` for bad data, code or settings (exit codes 65, 70, 78),
    `AirflowSkipException` for nothing to do (99) and `AirflowException`, which is retried, for everything else; the
    text is the step's own one-line error.
    """

    template_fields = (*KubernetesPodOperator.template_fields, "date")
    arguments: list[str]
    name: str

    def __init__(
        self,
        *,
        step: StepSpec,
        use_case: str,
        date: str,
        options: Mapping[str, str] | None = None,
        candidate: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.step = step
        self.use_case = use_case
        self.date = date
        self.candidate = candidate
        chosen = {
            "use-case": use_case,
            "date": date,
            **(options or {}),
            **({"candidate": candidate} if candidate else {}),
        }
        # A mapped task is built with Airflow's defaults written out, and None is not meant as "for ever".
        kwargs["execution_timeout"] = kwargs.get("execution_timeout") or step.timeout
        super().__init__(
            **{"pool": step.pool.value, **kwargs},
            image=pod_spec.image(step),
            cmds=["python"],
            arguments=["-m", step.module, *(f"--{name}={value}" for name, value in chosen.items())],
            name=NOT_IN_A_NAME.sub("-", f"{use_case.rpartition('.')[2]}-{step.name}".lower()),
            namespace=pod_spec.NAMESPACE,
            labels=pod_spec.labels(step, use_case),
            env_vars=pod_spec.environment(candidate),
            pod_runtime_info_envs=[*pod_spec.secrets()],
            container_resources=pod_spec.resources(step.resources),
            container_security_context=pod_spec.container_security(),
            security_context=pod_spec.pod_security(),
            volumes=[*pod_spec.volumes()],
            volume_mounts=[*pod_spec.volume_mounts()],
            automount_service_account_token=False,
            active_deadline_seconds=int(step.deadline.total_seconds()),
            termination_grace_period=pod_spec.GRACE,
            startup_timeout_seconds=int(STARTUP.total_seconds()),
            startup_check_interval_seconds=1,
            container_name_log_prefix_enabled=False,
            log_events_on_failure=True,
            log_pod_spec_on_failure=False,
            do_xcom_push=False,  # the provider's word for its sidecar; execute() pushes the result
            deferrable=False,
            durable=True,
        )
        links = {Data.DATA_DOCS: DataDocsLink, Data.PREDICTIONS_PAGE: PredictionsLink}
        self.operator_extra_links = tuple(link() for data, link in links.items() if data in step.writes)
        self._process: PodProcess | None = None
        self._supervisor = 0
        self._cancelled = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the pod and hand back its result; refuse a run with parameters that its DAG does not have."""
        refuse_unknown(context["dag_run"].conf, context["dag"].params)
        self._supervisor = os.getppid()
        ending = self._run_as_process(context) if chosen_runtime() is PodRuntime.PROCESS else self._run(context)
        result = ending.result()
        context["ti"].xcom_push(key="return_value", value=result)
        announce(self.outlets, context, {"date": self.date, **result})
        return result

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> V1Pod:
        """The pod, without the options that rendered to nothing, and without variables for the namespace's Services.

        A Service named `nightshift-…` would become an environment variable that looks like an unknown setting.
        """
        self.arguments = [word for word in self.arguments if not BLANK.fullmatch(word)]
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        pod.spec.enable_service_links = False
        return pod

    def on_kill(self) -> None:
        """End the process or delete the pod of a task that is cancelled."""
        self._cancelled = True
        if self._process is not None:
            self._process.stop()
        super().on_kill()

    def cleanup(
        self,
        pod: V1Pod,
        remote_pod: V1Pod | None,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Delete the pod as the provider does, but report a failure in the step's own words.

        A task whose supervisor was killed ends too, and its pod runs on. The provider would mark it as done with, and
        the retry would start a second one beside it.
        """
        if os.getppid() != self._supervisor:
            return
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as failure:
            ending = Ending.of_pod(remote_pod, self.base_container_name)
            if ending.exit_code is None and failure.__context__ is not None:
                return  # the exception under way (no image, a timeout) says more than the unfinished pod
            raise ending.failure() from None

    def _run(self, context: Context) -> Ending:
        try:
            super().execute(context)
        except ApiException as error:
            raise self._refused(error) from error
        except PodLaunchFailedException as error:
            raise AirflowException(one_line(str(error))) from None
        except ConfigException as error:
            raise AirflowFailException(
                f"no Kubernetes cluster is configured ({error}): give the connection {self.kubernetes_conn_id}, "
                "or set the Airflow Variable nightshift_pod_runtime to process"
            ) from None
        return Ending.of_pod(self.remote_pod, self.base_container_name)

    def _run_as_process(self, context: Context) -> Ending:
        pod = self.build_pod_request_obj(context, dry_run=True)
        self._process = PodProcess(pod, self.log.info)
        if self._cancelled:
            self._process.stop()
        return self._process.run()

    def _refused(self, error: ApiException) -> AirflowException:
        if self._cancelled:
            return AirflowException("the task was cancelled and its pod deleted")
        text = f"Kubernetes answered {error.status} {error.reason}: {pod_spec.api_message(error.body)}"
        return AirflowFailException(text) if error.status in (400, 403, 422) else AirflowException(text)


def announce(outlets: Iterable[Asset], context: Context, result: Mapping[str, Any]) -> None:
    """Note on each outlet's event what was made, so that other DAGs can follow it."""
    for outlet in outlets:
        context["outlet_events"][outlet].extra = {
            key: result.get(key, {}) for key in ("date", "rows", "metrics", "uris", "facts")
        }
