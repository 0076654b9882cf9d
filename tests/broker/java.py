"""A broker from Kafka's own jars: no installation, no container, one temporary directory."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
JARS = HERE / ".jars"

# Any 16 bytes in base64: this cluster has one node and is never joined.
CLUSTER_ID = "ReflexiveTestBroker00A"

# A test broker is started far more often than it is pushed hard: the first compiler tier and the
# serial collector halve its start on two cores.
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def fetch_jars() -> Path:
    """The directory of Kafka's jars, fetched by Maven once for each version of `pom.xml`."""
    fetched_for = JARS / "pom.xml"
    if fetched_for.exists() and fetched_for.read_bytes() == POM.read_bytes():
        return JARS
    shutil.rmtree(JARS, ignore_errors=True)
    maven = ["mvn", "--quiet", "--batch-mode", "--file", str(POM)]
    subprocess.run([*maven, "dependency:copy-dependencies"], check=True)
    shutil.copy(POM, fetched_for)
    return JARS


def java(main: str, *arguments: str) -> list[str]:
    """The command that runs one class of Kafka's jars, its log on standard error."""
    log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", *JVM, log, "-cp", f"{fetch_jars()}/*", main, *arguments]


class JavaServer:
    """A broker as a Java process; what it wrote stays in `home` between its starts."""

    def __init__(self, home: Path, port: int, properties: str) -> None:
        self._log = home / "broker.log"
        self._config = home / "server.properties"
        self._config.write_text(
            f"{properties}\n"
            f"listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}\n"
            f"log.dirs={home / 'data'}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        format_data = java(
            "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._config)
        )
        subprocess.run(format_data, check=True, capture_output=True)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                java("kafka.Kafka", str(self._config)), stdout=log, stderr=log
            )

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def remove(self) -> None:
        """Nothing is left once the process has ended: `home` belongs to the caller."""
