"""Operations that the tests ask for."""

from __future__ import annotations

import os
import time

from pydantic import BaseModel, Field

from bhype.freebsd.command import Command
from bhype.tasks import OperationFailed, Run, operation
from vms.models import VM


class Params(BaseModel):
    name: str = Field("a", max_length=20)
    seconds: float = 0
    note: str = ""


@operation(
    "sample.sleep",
    title="Sleep as {name}",
    right="self",
    lock="{name}",
    subject="bed:{name}",
    recover="sample.recover",
)
def sleep(run: Run, params: Params) -> None:
    run.host.run(Command(("/bin/sleep", str(params.seconds)), native=True, timeout=100))


@operation("sample.family", title="Family of {name}", right="self", lock="{name}")
def family(run: Run, params: Params) -> None:
    """A command with children; its process group is told in the log."""
    script = "sleep 60 & echo group $$ child $!; wait"
    run.host.run(Command(("/bin/sh", "-c", script), native=True, timeout=100))


@operation("sample.free", title="Free {name}", right="self")
def free(run: Run, params: Params) -> None:
    run.stage("Working", 40)
    run.log(f"hello {params.name}")
    if params.seconds:
        time.sleep(params.seconds)
    run.result(pid=os.getpid())


@operation("sample.fail", title="Fail", right="self")
def fail(run: Run, params: Params) -> None:
    raise OperationFailed(f"{params.name} could not be done.")


@operation("sample.break", title="Break", right="self")
def break_(run: Run, params: Params) -> None:
    raise ZeroDivisionError("oops")


@operation(
    "sample.die", title="Die", right="self", lock="{name}", subject="bed:{name}", recover="sample.recover"
)
def die(run: Run, params: Params) -> None:
    os._exit(9)


@operation("sample.recover", title="Recover {name}", lock="{name}", subject="bed:{name}")
def recover(run: Run, params: Params) -> None:
    run.log("recovered")


class VmParams(BaseModel):
    vm_id: int


@operation(
    "sample.start",
    title="Start {vm}",
    right="vms.operate",
    lock="vm:{vm_id}",
    target=lambda params: VM.objects.filter(pk=params.vm_id).first(),
)
def start(run: Run, params: VmParams) -> None:
    run.log(f"started {params.vm_id}")


class SecretParams(BaseModel):
    password: str
    text: str


@operation("sample.tell", title="Tell", right="self")
def tell(run: Run, params: SecretParams) -> None:
    run.log(params.text)
    run.host.run(Command(("/bin/cat",), stdin=params.password.encode(), native=True))
