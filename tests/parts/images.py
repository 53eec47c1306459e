# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the test images from the parts that run natively: `python -m tests.parts.images [minio] [kafka] [postgres]`.

No base image and no registry: each starts from nothing and holds the part, the shared libraries that it loads (as ldd
finds them on this machine), and a user without rights. The Dockerfiles are in deploy/test-images. The names are those
that the tests look for, so DRAGOMAN_TEST_…_IMAGE gives an image another name.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import docker
import docker.errors

from tests.parts import kafka, minio, postgres
from tests.parts.missing import MissingPartError

SOURCES = Path(__file__).resolve().parents[2] / "deploy" / "test-images"
USER = 65532
# What the broker's jars ask for (Log4j: java.beans, which is in java.desktop), and jdk.crypto.ec for TLS.
MODULES = (
    "java.base",
    "java.desktop",
    "java.logging",
    "java.management",
    "java.naming",
    "java.security.jgss",
    "java.security.sasl",
    "java.sql",
    "java.xml",
    "jdk.crypto.ec",
    "jdk.management",
    "jdk.unsupported",
)
DESKTOP = {
    "libawt",
    "libawt_headless",
    "libawt_xawt",
    "libfontmanager",
    "libfreetype",
    "libharfbuzz",
    "libjavajpeg",
    "libjawt",
    "libjsound",
    "liblcms",
    "libmlib_image",
    "libsplashscreen",
}
PASSWD = f"root:x:0:0::/:/\nnonroot:x:{USER}:{USER}::/data:/\n"
GROUP = f"root:x:0:\nnonroot:x:{USER}:\n"


def fill_minio(root: Path) -> None:
    shutil.copy2(minio.binary(), root / "minio")


def fill_kafka(root: Path) -> None:
    libraries = kafka.libraries()
    shutil.copytree(libraries, root / "kafka")
    _run(
        "javac",
        *("--release", "17", "-proc:none", "-cp", f"{libraries}/*", "-d", str(root / "kafka")),
        str(SOURCES / "kafka" / "Broker.java"),
    )
    _run(
        "jlink",
        *("--add-modules", ",".join(MODULES), "--output", str(root / "java")),
        *("--strip-debug", "--no-man-pages", "--no-header-files", "--compress=2"),
    )
    # Of java.desktop without its screens, fonts and sounds, which would bring X11 along.
    for library in (root / "java" / "lib").glob("*.so"):
        if library.stem in DESKTOP:
            library.unlink()


def fill_postgres(root: Path) -> None:
    shutil.copytree(postgres.programs(), root / "postgres", symlinks=True)
    (root / "bin").mkdir()
    # initdb calls it.
    shutil.copy2(Path("/bin/sh").resolve(), root / "bin" / "sh")
    shutil.copy2(SOURCES / "postgres" / "start.sh", root / "start.sh")


PARTS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "minio": (minio.IMAGE, minio.VERSION, fill_minio),
    "kafka": (kafka.IMAGE, kafka.VERSION, fill_kafka),
    "postgres": (postgres.IMAGE, postgres.VERSION, fill_postgres),
}


def build(engine: docker.DockerClient, part: str) -> str:
    """Build the image of a part, and return its name.

    Raises:
        MissingPartError: the part, or what builds it, is not on this machine.
    """
    default, version, fill = PARTS[part]
    name = os.environ.get(f"DRAGOMAN_TEST_{part.upper()}_IMAGE", default)
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "root"
        root.mkdir()
        fill(root)
        _unpack_native_code(root, Path(work) / "native")
        _add_shared_libraries(root, Path(work) / "native")
        with tempfile.TemporaryFile(dir=work) as context:
            with tarfile.open(fileobj=context, mode="w") as archive:
                archive.add(SOURCES / part / "Dockerfile", "Dockerfile", filter=_plain)
                _add_root(archive, root, Path(work) / "rootfs.tar")
            context.seek(0)
            engine.images.build(
                fileobj=context, custom_context=True, tag=name, buildargs={"VERSION": version}, rm=True, pull=False
            )
    return name


def main(parts: list[str]) -> int:
    """Build the images of these parts, or of all, and print their sizes."""
    try:
        engine = docker.from_env(timeout=600)
        engine.ping()
    except docker.errors.DockerException as error:
        sys.stderr.write(f"test-images: no Docker engine answers: {error}\n")
        return 1
    with closing(engine):
        for part in parts or PARTS:
            begun_s = time.monotonic()
            try:
                name = build(engine, part)
            except (MissingPartError, docker.errors.DockerException) as error:
                sys.stderr.write(f"test-images: {part}: {error}\n")
                return 1
            size_mb = engine.images.get(name).attrs["Size"] / 1e6
            sys.stdout.write(f"{name}: {size_mb:.0f} MB, built in {time.monotonic() - begun_s:.0f} s\n")
    return 0


def _add_root(archive: tarfile.TarFile, root: Path, packed: Path) -> None:
    with tarfile.open(packed, "w") as inner:
        for path in sorted(root.rglob("*")):
            inner.add(path, str(path.relative_to(root)), recursive=False, filter=_plain)
        for name, mode, owner in (("data", 0o700, USER), ("tmp", 0o1777, 0)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, mode, owner, owner
            inner.addfile(folder)
        for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(text), 0o644
            inner.addfile(file, io.BytesIO(text.encode()))
    archive.add(packed, "rootfs.tar", filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take from a file what is only true on this machine, so that the same parts make the same layer."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode |= 0o444 | (0o111 if member.isdir() or member.mode & 0o100 else 0)
    return member


def _unpack_native_code(root: Path, into: Path) -> None:
    """Lay out what jars unpack only when they run (compression), so that what it loads is found."""
    for jar in root.rglob("*.jar"):
        with zipfile.ZipFile(jar) as archive:
            for member in archive.namelist():
                if member.endswith(".so"):
                    archive.extract(member, into / jar.name)


def _add_shared_libraries(root: Path, native: Path) -> None:
    """Copy what the programs and libraries below these folders load from elsewhere into root, to the same places."""
    for program in [path for path in (*root.rglob("*"), *native.rglob("*")) if path.is_file() and _is_elf(path)]:
        for library in _loaded(program):
            # What is below root finds its neighbours where it is.
            if not library.is_relative_to(root):
                there = root / library.relative_to("/")
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(library.resolve(), there)


def _loaded(program: Path) -> Iterator[Path]:
    # It lists nothing for the code of other machines.
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout
    for line in listed.splitlines():
        if found := re.search(r"(?:=> )?(/\S+) \(0x", line):
            # As it was named, not resolved: that is the name under which it is loaded.
            yield Path(os.path.normpath(found[1]))


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise MissingPartError(f"there is no {command[0]}: a JDK of at least 17 is needed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingPartError(f"{command[0]}: {' '.join((done.stderr + done.stdout).split())[-400:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
