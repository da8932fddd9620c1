"""What Spark's tasks read, wrote and shuffled, from the metrics that every task reports to the driver.

    meter = Meter(spark)
    ...
    work = meter.work()    # of all jobs that ended since

Read from the driver's status store, which Spark keeps with and without its web page, in local and in cluster mode alike,
and which costs a few calls. What is no task's is not seen: what the driver reads of a table's log, and files that
Python reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import takewhile

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from spark_jobs.figures import SparkWork


class Meter:
    """Adds up the tasks of every stage that Spark begins after the meter was made."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._before = next((stage.stageId() for stage in self._stages()), -1)

    def work(self) -> SparkWork:
        """The sums so far; a stage that is still running counts with what its tasks have reported."""
        stages = list(takewhile(lambda stage: stage.stageId() > self._before, self._stages()))
        seen = {stage.stageId() for stage in stages}
        return SparkWork(
            tasks=sum(stage.numCompleteTasks() for stage in stages),
            records_read=sum(stage.inputRecords() for stage in stages),
            bytes_read=sum(stage.inputBytes() for stage in stages),
            records_shuffled=sum(stage.shuffleWriteRecords() for stage in stages),
            bytes_shuffled=sum(stage.shuffleWriteBytes() for stage in stages),
            records_written=sum(stage.outputRecords() for stage in stages),
            bytes_written=sum(stage.outputBytes() for stage in stages),
            bytes_spilled=sum(stage.diskBytesSpilled() for stage in stages),
            cpu_seconds=round(sum(stage.executorCpuTime() for stage in stages) / 1e9, 3),
            stages_forgotten=max(seen, default=self._before) - self._before - len(seen),
        )

    def _stages(self) -> Iterable[JavaObject]:
        """Every attempt of every stage that the status store still holds, the newest first; each is fetched when it is
        reached."""
        context = self._spark.sparkContext
        jvm = context._jvm
        scala = context._jsc.sc()
        # Tasks report through a queue, which may lag behind the end of the last job. Where it does for long, what has
        # come is counted: no stage fails because it could not be measured.
        with suppress(Py4JJavaError):
            scala.listenerBus().waitUntilEmpty()
        quantiles = context._gateway.new_array(jvm.double, 0)
        found = scala.statusStore().stageList(None, False, False, quantiles, jvm.java.util.ArrayList())
        return jvm.scala.jdk.javaapi.CollectionConverters.asJava(found)
