"""Which way this machine can come by a Kafka broker for the tests; with none, how to get one.

Run as a script before anything long (`python3 tests/broker/tools.py`), so it uses the standard
library only and imports nothing of ours.
"""

import os
import re
import shutil
import subprocess
import sys
from typing import Literal

Way = Literal["external", "java", "docker"]

# Kafka 4 brokers run on Java 17 and later (KIP-1013).
JAVA_AT_LEAST = 17


def java_version() -> int:
    """The major version of `java` on the PATH; 0 without one."""
    if shutil.which("java") is None:
        return 0
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    return int(found.group(1)) if found else 0


def docker_runs() -> bool:
    """Whether there is a Docker client and an engine that answers it."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def java_tools() -> bool:
    """Whether Java and Maven are there to fetch and run Kafka's jars."""
    return java_version() >= JAVA_AT_LEAST and shutil.which("mvn") is not None


def way() -> Way | None:
    """The first way that works: a broker named by the environment, Kafka's jars, Docker."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        return "external"
    if java_tools():
        return "java"
    return "docker" if docker_runs() else None


def how_to_get_one() -> str:
    """What is missing on this machine for each way, and how to get it."""
    java = java_version()
    found_java = f"found {java}" if java else "none found"
    found_maven = "found" if shutil.which("mvn") else "none found"
    client = "no engine answers it" if shutil.which("docker") else "none found"
    return f"""\
The tests run against a real Kafka broker, and this machine has no way to start one.
Any one of these is enough:
  1. Java {JAVA_AT_LEAST} or later ({found_java}) and Maven ({found_maven}):
       Debian, Ubuntu   sudo apt-get install openjdk-17-jre-headless maven
       macOS            brew install openjdk@17 maven
  2. Docker, running ({client}): https://docs.docker.com/get-docker/
  3. A Kafka 4 broker you already have:
       export KAFKA_BOOTSTRAP=host:port"""


if __name__ == "__main__":
    if way() is None:
        sys.exit(how_to_get_one())
