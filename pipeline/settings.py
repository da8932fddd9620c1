"""Where things are: addresses and folders, from environment variables. No hyperparameters."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from spark_jobs.lake.warm_jvm import WarmJvms

CHECKOUT = Path(__file__).resolve().parent.parent
"""Root of the source tree."""


@dataclass(frozen=True)
class Settings:
    """Addresses and folders. State is under `home` unless the environment says otherwise."""

    home: Path
    """`REPRISE_HOME`: all state; removing it removes everything."""
    lake: str
    """`REPRISE_LAKE`: root of the Delta tables, a folder or an object-store URI."""
    data: Path
    """`REPRISE_DATA`: folder of the open data sets that Reprise does not download."""
    tracking_uri: str
    """`MLFLOW_TRACKING_URI`: a server; by default SQLite under `home`."""
    spark_master: str
    """`REPRISE_SPARK_MASTER`: used unless spark-submit has set a master; by default `local[2]`."""
    warm_jvm_seconds: float = 0.0
    """`REPRISE_WARM_JVM_SECONDS`: how long the JVM of a local master waits for another stage; 0: it ends with
    its stage. Airflow's tasks have 600."""

    @classmethod
    def from_environment(cls) -> Settings:
        """Settings of this process's environment."""
        home = Path(os.environ.get("REPRISE_HOME", CHECKOUT / ".reprise")).absolute()
        return cls.at(
            home,
            lake=os.environ.get("REPRISE_LAKE"),
            data=os.environ.get("REPRISE_DATA"),
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
            spark_master=os.environ.get("REPRISE_SPARK_MASTER"),
            warm_jvm_seconds=_seconds("REPRISE_WARM_JVM_SECONDS"),
        )

    @classmethod
    def at(
        cls,
        home: Path,
        *,
        lake: str | None = None,
        data: str | None = None,
        tracking_uri: str | None = None,
        spark_master: str | None = None,
        warm_jvm_seconds: float = 0.0,
    ) -> Settings:
        """Settings of one home folder; what is None is embedded in it."""
        return cls(
            home=home,
            lake=lake or str(home / "lake"),
            data=Path(data or CHECKOUT.parent / "shared" / "data").absolute(),
            tracking_uri=tracking_uri or f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
            spark_master=spark_master or "local[2]",
            warm_jvm_seconds=warm_jvm_seconds,
        )

    def landing(self, source: str) -> Path:
        """Raw files of a packaged source."""
        return self.home / "landing" / source

    def digests(self, source: str) -> Path:
        """Digests of the source's landed files, so that a file is read for its digest once."""
        return self.home / "landed" / f"{source}.json"

    def cycle_folder(self, source: str, cycle: str) -> Path:
        """Records of one cycle: a JSON file for each finished stage."""
        return self.home / "cycles" / source / cycle

    def checkpoint_folder(self, source: str, cycle: str, model: str) -> Path:
        """Weights and resumable state of one model of one cycle."""
        return self.home / "checkpoints" / source / cycle / model

    def pairs_folder(self, source: str, cycle: str) -> Path:
        """Pair lists that the models of one cycle share until its report is written."""
        return self.home / "checkpoints" / source / cycle / "pairs"

    def accepted_folder(self, source: str, checkpoint_digest: str) -> Path:
        """What later cycles need from an accepted version (`pipeline.cycle.accepted`)."""
        return self.home / "accepted" / source / checkpoint_digest[:16]

    def report_folder(self, source: str, cycle: str) -> Path:
        """The cycle report and the expectation reports."""
        return self.home / "reports" / source / cycle

    def corrections(self, source: str) -> Path:
        """What people have said against the source's landed data (`pipeline.cycle.corrections`)."""
        return self.home / "corrections" / f"{source}.json"

    @property
    def warm_jvms(self) -> WarmJvms | None:
        """Where Spark's JVMs wait for the next stage; None: they do not."""
        return WarmJvms(self.warm_jvm_folder, self.warm_jvm_seconds) if self.warm_jvm_seconds else None

    @property
    def warm_jvm_folder(self) -> Path:
        """The sockets of this home's warm JVMs."""
        return self.home / "spark" / "warm"

    @property
    def artifacts(self) -> Path:
        """Artifact root of the embedded MLflow store."""
        return self.home / "mlflow" / "artifacts"

    @property
    def jars(self) -> Path:
        """The jars of Delta and Avro, fetched at set-up."""
        return self.home / "jars"


def _seconds(variable: str) -> float:
    text = os.environ.get(variable, "0")
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError(f"{variable} is {text!r}; give a number of seconds, 0 for none")
    return float(text)
