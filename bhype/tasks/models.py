"""A task is a row, and the table is the queue."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class TaskQuerySet(models.QuerySet["Task"]):
    def visible_to(self, user: object, right: str = "self") -> TaskQuerySet:
        """Everything for those who may see all tasks, else the user's own; ``right`` is for look-ups only."""
        return self if user.can("tasks.view_all") else self.filter(user=user)  # type: ignore[attr-defined,misc]

    def unfinished(self) -> TaskQuerySet:
        return self.filter(status__in=Task.UNFINISHED)


class Task(models.Model):
    """One run of an operation, from the moment somebody asks for it."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        CANCELLING = "cancelling", "Cancelling"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"
        INTERRUPTED = "interrupted", "Interrupted"

    UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.CANCELLING)
    STARTED = (Status.RUNNING, Status.CANCELLING)
    REPEATABLE = (Status.FAILED, Status.CANCELLED, Status.INTERRUPTED)

    host = models.CharField(max_length=64)
    operation = models.CharField(max_length=64)
    title = models.CharField(max_length=200)
    params = models.JSONField(default=dict)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="tasks"
    )
    # Asked by the panel itself. A task without a user that is not by_system lost its user, and never runs.
    by_system = models.BooleanField(default=False)
    # What the task is about, such as "vm:12"; live topic and filter at once.
    subject = models.CharField(max_length=80, blank=True)
    # Of the tasks with the same lock one runs at a time, in the order they were asked.
    lock = models.CharField(max_length=120, blank=True)
    # Of the tasks of one pool at most pool_size run at a time: a hundred starts do not run the host down.
    pool = models.CharField(max_length=64, blank=True)
    pool_size = models.PositiveSmallIntegerField(default=0)
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    stage = models.CharField(max_length=120, blank=True)
    percent = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict)
    retry_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="retries")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The process that runs it: "pid:start time", so that a number used again is not taken for it; or, between
    # claim and start, "claim:" and a random word.
    worker = models.CharField(max_length=64, blank=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # What the broker looks at for each claim lies in these two alone.
            models.Index(fields=["host", "status", "user", "lock", "id"], name="task_queue"),
            models.Index(fields=["host", "status", "lock", "id"], name="task_queue_lock"),
            models.Index(fields=["user", "-id"], name="task_user"),
            models.Index(fields=["status", "-id"], name="task_status"),
            models.Index(fields=["subject", "-id"], name="task_subject"),
            models.Index(fields=["operation", "-id"], name="task_operation"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "lock"],
                condition=Q(status__in=["running", "cancelling"]) & ~Q(lock=""),
                name="task_lock_held_once",
            )
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_finished(self) -> bool:
        return self.status not in self.UNFINISHED

    @property
    def is_repeatable(self) -> bool:
        return self.status in self.REPEATABLE

    @property
    def seconds(self) -> float | None:
        """How long it has run, or ran."""
        if self.started_at is None:
            return None
        return max(0.0, ((self.finished_at or timezone.now()) - self.started_at).total_seconds())

    @property
    def seconds_left(self) -> float | None:
        """An estimate, from how long the percent so far took; None while there is nothing to go by."""
        seconds = self.seconds
        if (
            self.status != self.Status.RUNNING
            or seconds is None
            or seconds < 2
            or not 3 <= self.percent < 100
        ):
            return None
        return seconds * (100 - self.percent) / self.percent


class TaskLine(models.Model):
    """One line of a task's log."""

    class Kind(models.TextChoices):
        LOG = "log"
        COMMAND = "command"
        OUTPUT = "output"
        ERROR = "error"

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="lines")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.LOG)
    text = models.TextField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def visible_to(self, user: object, right: str = "self") -> ScheduleQuerySet:
        """As of tasks: all for those who see all tasks, else the user's own."""
        return self if user.can("tasks.view_all") else self.filter(owner=user)  # type: ignore[attr-defined,misc]


class Schedule(models.Model):
    """An operation that is asked for again and again, in the name of its owner and with the owner's rights."""

    host = models.CharField(max_length=64)
    operation = models.CharField(max_length=64)
    title = models.CharField(max_length=200)
    params = models.JSONField(default=dict)
    # As in the tasks that come of it.
    subject = models.CharField(max_length=80, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="schedules"
    )
    # As the person wrote it: "every day 08:00", or the five fields of crontab(5); in time_zone.
    when = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=64, default="UTC")
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    # Written by the observer.
    next_run = models.DateTimeField(null=True, blank=True)
    last_run = models.DateTimeField(null=True, blank=True)
    last_task = models.ForeignKey(Task, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Why nothing was asked the last time, as a sentence.
    problem = models.TextField(blank=True)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["title", "pk"]
        indexes = [
            models.Index(fields=["host", "is_enabled", "next_run"], name="schedule_due"),
            models.Index(fields=["subject"], name="schedule_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.title}, {self.when}"
