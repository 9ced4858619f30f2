"""A pod as a process of this machine: the same built pod spec, interpreted instead of submitted.

What a kubelet would do is done here: resolve the environment and `$(VAR)`, start the command in a working directory,
follow its output, keep its deadline, pass on a stop, hand back exit code and termination message. Memory and CPU limits
are not enforced. What cannot be interpreted is refused by name.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from threading import Timer

from airflow.sdk.exceptions import AirflowFailException
from kubernetes.client.models import V1Container, V1EnvVar, V1EnvVarSource, V1Pod, V1ResourceFieldSelector
from kubernetes.utils.quantity import parse_quantity

from include.errors import ExitCode
from include.log_lines import without_controls
from include.masking import Mask
from include.packages import python_path
from include.settings import OperatorSettings
from include.termination import RESULT_BYTES, TERMINATION_LOG
from plugins.pod_ending import Ending, EndingReason

ROOT = Path(__file__).resolve().parents[1]
GUARD = Path(__file__).with_name("pod_guard.py")
PROXY = tuple(spelt for name in ("HTTP", "HTTPS", "ALL", "NO") for spelt in (f"{name}_PROXY", f"{name.lower()}_proxy"))
INHERITED = ("PATH", "HOME", "LANG", "JAVA_HOME", *PROXY, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
"""Variables of the machine: its programs, and the company's proxy with the authorities it trusts."""
DEFAULT_GRACE = 30  # seconds; Kubernetes' own default

REFERENCE = re.compile(r"\$\$|\$\(([^)]+)\)")
MAPPED_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def secrets_folder() -> Path:
    """The folder of secrets as `<secret>/<key>` files: `NIGHTSHIFT_SECRETS_DIR` of Airflow, or the default."""
    return ROOT / OperatorSettings.load(os.environ).secrets_dir


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Kubernetes' `$(NAME)`: an unknown name stays as it is written, `$$` is a dollar sign."""
    return REFERENCE.sub(lambda found: "$" if found[0] == "$$" else environment.get(found[1], found[0]), text)


class PodProcess:
    """One run of a pod that has one container."""

    def __init__(self, pod: V1Pod, log: Callable[[str], None], secrets: Path | None = None) -> None:
        self.pod = pod
        self.container = the_container(pod)
        self.log = log
        self.secrets = secrets or secrets_folder()
        self.overran = False
        self.stopped = False
        self._guard: subprocess.Popen[str] | None = None

    # What the process is given

    def environment(self) -> dict[str, str]:
        """The container's declared environment, in order, each value seeing the ones before it."""
        resolved: dict[str, str] = {}
        for variable in self.container.env or []:
            value = self._value(variable, resolved)
            if value is not None:
                resolved[variable.name] = value
        return resolved

    def argv(self) -> list[str]:
        """The command line, with `$(NAME)` replaced, as a container runtime would start it."""
        environment = self.environment()
        return [expand(word, environment) for word in [*self.container.command, *(self.container.args or [])]]

    def _value(self, variable: V1EnvVar, resolved: Mapping[str, str]) -> str | None:
        source: V1EnvVarSource | None = variable.value_from
        if source is None:
            return expand(variable.value or "", resolved)
        if source.secret_key_ref:
            return self._secret(source.secret_key_ref.name, source.secret_key_ref.key, source.secret_key_ref.optional)
        if source.field_ref:
            return self._field(source.field_ref.field_path)
        if source.resource_field_ref:
            return self._quantity(source.resource_field_ref)
        raise refusal(f"the source of environment variable {variable.name}")

    def _secret(self, name: str, key: str, optional: bool | None) -> str | None:
        path = self.secrets / name / key
        try:
            return path.read_text(encoding="utf-8").removesuffix("\n")
        except FileNotFoundError:
            if optional:
                return None
            raise AirflowFailException(f"secret {name!r} has no key {key!r}: put its value into {path}") from None

    def _field(self, path: str) -> str:
        meta, spec = self.pod.metadata, self.pod.spec
        if found := MAPPED_FIELD.fullmatch(path):
            return str((getattr(meta, found[1]) or {}).get(found[2], ""))
        fields = {
            "metadata.name": meta.name,
            "metadata.namespace": meta.namespace,
            "metadata.uid": meta.uid or meta.name,
            "spec.nodeName": os.uname().nodename,
            "spec.serviceAccountName": spec.service_account_name or "default",
            "status.podIP": "127.0.0.1",
            "status.hostIP": "127.0.0.1",
        }
        if path not in fields:
            raise refusal(f"the field {path}")
        return str(fields[path])

    def _quantity(self, reference: V1ResourceFieldSelector) -> str:
        kind, _, name = reference.resource.partition(".")
        amount = (getattr(self.container.resources, kind, None) or {}).get(name)
        if amount is None:
            raise refusal(f"{reference.resource}, which the container does not state")
        return str(ceil(parse_quantity(amount) / parse_quantity(reference.divisor or "1")))

    # Running it

    def run(self) -> Ending:
        """Start the process, follow it to its end, leave nothing of it behind."""
        with tempfile.TemporaryDirectory(prefix="nightshift-", ignore_cleanup_errors=True) as scratch:
            message = Path(scratch, "termination-log")
            message.touch()
            temporary = Path(scratch, "tmp")
            temporary.mkdir()
            given = machine_environment() | self.environment()
            given |= {TERMINATION_LOG: str(message), "TMPDIR": str(temporary)}
            mask = Mask.of(given)  # a step masks its own lines; what Java or a C library writes passes it by
            with self._started(given, mask) as guard, self._deadline():
                assert guard.stdout is not None
                for line in guard.stdout:
                    self.log(without_controls(mask(line.rstrip("\n"))))
                code = guard.wait()
            code = code if code >= 0 else 128 - code
            text = message.read_bytes()[-RESULT_BYTES:].decode(errors="replace")
            text = text if code == ExitCode.DONE else mask(text)
        if self.overran:
            limit = self.pod.spec.active_deadline_seconds
            return Ending(code, text, EndingReason.DEADLINE, f"the step ran longer than its deadline of {limit} s")
        return Ending(code, text)

    def stop(self) -> None:
        """Ask the process to end, now or as soon as it starts; the guard kills what is left after the grace period."""
        self.stopped = True
        if self._guard is not None:
            self._guard.terminate()

    @contextmanager
    def _started(self, environment: Mapping[str, str], mask: Mask) -> Iterator[subprocess.Popen[str]]:
        argv = self._resolved(self.argv(), environment)
        self.log(mask(f"{shlex.join(argv)}  (a process in place of {self.container.image})"))
        read, lifeline = os.pipe()
        try:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(read), str(self._grace), *argv],
                cwd=self.container.working_dir or ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[read],
                start_new_session=True,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",
            )
        except OSError:
            os.close(lifeline)
            raise
        finally:
            os.close(read)
        with guard:
            try:
                self._guard = guard
                if self.stopped:
                    self.stop()
                yield guard
            except BaseException:
                self.stop()
                with suppress(subprocess.TimeoutExpired):
                    guard.wait(self._grace + 5)
                raise
            finally:
                os.close(lifeline)

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        seconds = self.pod.spec.active_deadline_seconds
        timer = Timer(seconds, self._overrun) if seconds else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer:
                timer.cancel()

    def _overrun(self) -> None:
        self.overran = True
        self.stop()

    @property
    def _grace(self) -> float:
        grace = self.pod.spec.termination_grace_period_seconds
        return DEFAULT_GRACE if grace is None else grace

    def _resolved(self, argv: list[str], environment: Mapping[str, str]) -> list[str]:
        if argv[0] in ("python", "python3"):
            return [sys.executable, *argv[1:]]
        if shutil.which(argv[0], path=environment.get("PATH")) is None:
            raise AirflowFailException(f"{argv[0]!r} is not a program of this machine; the image may have it")
        return argv


def machine_environment() -> dict[str, str]:
    """What an image's own environment would give: this machine's paths and where our code is, nothing else."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    use_cases = os.environ.get("NIGHTSHIFT_USE_CASES", "")
    return inherited | {"PYTHONPATH": python_path(ROOT, use_cases), "PYTHONUNBUFFERED": "1"}


def the_container(pod: V1Pod) -> V1Container:
    """The pod's only container; a pod that this machine cannot interpret is refused."""
    if pod.spec.init_containers or len(pod.spec.containers) != 1:
        raise refusal("a pod of several containers")
    container = pod.spec.containers[0]
    if not container.command:
        raise refusal(f"image {container.image} without a command (its entrypoint is unknown here)")
    if container.env_from:
        raise refusal("env_from")
    if any(not volume.empty_dir for volume in pod.spec.volumes or []):
        raise refusal("a volume that is not an emptyDir")
    return container


def refusal(what: str) -> AirflowFailException:
    """The error for a pod that only a cluster can run."""
    return AirflowFailException(f"process mode cannot give {what}; set nightshift_pod_runtime to kubernetes")
