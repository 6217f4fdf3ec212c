"""Durable workflows in plain Python: what has been done is remembered, through crashes, deploys and long sleeps."""

from stepwell.app import Stepwell
from stepwell.core.definition import StepFunction, Workflow, step, workflow
from stepwell.core.duration import Duration
from stepwell.core.options import Debounce, Limit, Rate, Schedule
from stepwell.core.records import (
    Event,
    LogLine,
    Page,
    QueueState,
    Run,
    RunInfo,
    RunProgress,
    ScheduleState,
    Slot,
    StepRecord,
    WorkerState,
    WorkflowState,
)
from stepwell.core.retry import Retry, RetryAfter
from stepwell.core.status import RunStatus
from stepwell.engine.attempts import current_step
from stepwell.engine.children import StartedRun
from stepwell.engine.logger import Logger
from stepwell.engine.requests import StepInfo
from stepwell.engine.step import Step, SyncStep
from stepwell.errors import (
    ChildFailed,
    ContinueAsNew,
    DatabaseTooNew,
    DatabaseUnavailable,
    DeadlineExceeded,
    DefinitionError,
    ErrorInfo,
    IllegalTransition,
    InvalidInput,
    InvalidOutput,
    MailboxFull,
    NonDeterminism,
    NonRetryable,
    NotInStep,
    NotSerializable,
    OutsideRun,
    PayloadTooLarge,
    RunCanceled,
    RunFailed,
    RunNotFound,
    ScheduleNotFound,
    StepFailed,
    StepTimeout,
    StepwellError,
    Stuck,
    TooSlow,
    WaitTimeout,
    WorkerCrashed,
    WorkerNotFound,
    WorkflowNotFound,
)
from stepwell.handle import Handle
from stepwell.sync import SyncHandle, SyncStepwell, SyncWorker

__all__ = [
    "ChildFailed", "ContinueAsNew", "DatabaseTooNew", "DatabaseUnavailable", "DeadlineExceeded", "Debounce", "DefinitionError",
    "Duration", "ErrorInfo", "Event", "Handle", "IllegalTransition", "InvalidInput", "InvalidOutput", "Limit", "LogLine", "Logger",
    "MailboxFull", "NonDeterminism", "NonRetryable", "NotInStep", "NotSerializable", "OutsideRun", "Page", "PayloadTooLarge",
    "QueueState", "Rate", "Retry", "RetryAfter", "Run", "RunCanceled", "RunFailed", "RunInfo", "RunNotFound", "RunProgress",
    "RunStatus", "Schedule", "ScheduleNotFound", "ScheduleState", "Slot", "StartedRun", "Step", "StepFailed", "StepFunction",
    "StepInfo", "StepRecord", "StepTimeout", "Stepwell", "StepwellError", "Stuck", "SyncHandle", "SyncStep", "SyncStepwell",
    "SyncWorker", "TooSlow", "WaitTimeout", "WorkerCrashed", "WorkerNotFound", "WorkerState", "Workflow", "WorkflowNotFound",
    "WorkflowState", "current_step", "step", "workflow",
]  # fmt: skip
