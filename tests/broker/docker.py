"""A broker in a container, for machines with Docker and no Java."""

import subprocess
from pathlib import Path

IMAGE = "apache/kafka:4.1.0"


def docker(*arguments: str) -> str:
    """What one Docker command printed."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


class DockerServer:
    """A broker as a container; what it wrote stays in the container between its starts."""

    def __init__(self, home: Path, port: int, properties: str) -> None:
        # The image formats its data directory and starts with the file it finds mounted here.
        config = home / "server.properties"
        config.write_text(
            f"{properties}\n"
            f"listeners=BROKER://0.0.0.0:{port},CONTROLLER://127.0.0.1:{port + 1}\n"
            f"advertised.listeners=BROKER://127.0.0.1:{port}\n"
            "log.dirs=/tmp/kraft-combined-logs\n"
        )
        # The container's user is not the owner of the temporary directory, which is private.
        home.chmod(0o755)
        mount = f"{home}:/mnt/shared/config:ro"
        publish = f"127.0.0.1:{port}:{port}"
        self._container = docker("create", "-v", mount, "-p", publish, IMAGE).strip()

    def start(self) -> None:
        docker("start", self._container)

    def running(self) -> bool:
        state = docker("inspect", "--format", "{{.State.Running}}", self._container)
        return state.strip() == "true"

    def stop(self) -> None:
        docker("stop", "--time", "60", self._container)

    def kill(self) -> None:
        docker("kill", self._container)

    def log(self) -> str:
        return docker("logs", "--tail", "40", self._container)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self._container)
