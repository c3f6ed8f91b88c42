"""The stack's own Redis and PostgreSQL: data directories, command lines, readiness."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile

from . import processes
from .processes import StackError

DATABASE = "parley"


class Redis:
    def __init__(self, root, directory, port):
        self.port = port
        self.data = os.path.join(directory, "redis")
        os.makedirs(self.data, exist_ok=True)
        if not shutil.which("redis-server"):
            raise StackError("redis-server is not installed: run Scripts/bootstrap")
        self.argv = [
            "redis-server", os.path.join(root, "Ops/redis.conf"),
            "--bind", "127.0.0.1", "--port", str(port), "--dir", self.data,
        ]
        self.url = f"redis://127.0.0.1:{port}"


def redis_answers(port):
    """Whether Redis takes commands: it refuses them while it loads its log."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


class Postgres:
    """PostgreSQL refuses to run as root: then it runs as user postgres, with a data directory of its own."""

    def __init__(self, root, directory, port):
        self.port = port
        self.user = "postgres" if os.geteuid() == 0 else None
        self._check_user()
        self.home = self._find_home(os.path.join(directory, "postgres"))
        self.data = os.path.join(self.home, "data")
        self.bin = self._find_bin()
        if not os.path.exists(self.data):
            self._initialize()
        # Copied, because user postgres may not be able to read the checkout.
        shutil.copyfile(os.path.join(root, "Ops/postgresql.conf"), os.path.join(self.data, "parley.conf"))
        self.argv = [
            os.path.join(self.bin, "postgres"), "-D", self.data, "-c", f"port={port}",
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
        ]
        with open(os.path.join(self.home, "password"), encoding="ascii") as file:
            self.url = f"postgres://parley:{file.read()}@127.0.0.1:{port}/{DATABASE}"

    def _check_user(self):
        if self.user:
            try:
                pwd.getpwnam(self.user)
            except KeyError:
                raise StackError("there is no user postgres: run Scripts/bootstrap") from None

    def _run(self, *argv, **options):
        account = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        return subprocess.run(
            argv, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            **account, **options,
        )

    def _find_home(self, link):
        """`postgres` under the stack's directory or, where the server's user cannot get there, a link to
        a directory under /var/tmp."""
        if os.path.isdir(link):
            return os.path.realpath(link)
        if os.path.islink(link):
            os.unlink(link)
        os.mkdir(link, 0o700)
        if self.user:
            shutil.chown(link, self.user, self.user)
            if self._run("test", "-x", link).returncode != 0:
                os.rmdir(link)
                home = tempfile.mkdtemp(prefix="parley-postgres-", dir="/var/tmp")
                shutil.chown(home, self.user, self.user)
                os.symlink(home, link)
        return os.path.realpath(link)

    def _find_bin(self):
        """Debian keeps one directory a version out of PATH: the data's version, else the newest."""
        base = "/usr/lib/postgresql"
        versions = sorted(filter(str.isdigit, os.listdir(base) if os.path.isdir(base) else []), key=int)
        try:
            with open(os.path.join(self.data, "PG_VERSION"), encoding="ascii") as file:
                mine = file.read().strip()
        except OSError:
            mine = None
        for version in [mine, *reversed(versions)]:
            if version in versions and os.access(f"{base}/{version}/bin/initdb", os.X_OK):
                return f"{base}/{version}/bin"
        initdb = shutil.which("initdb")
        if not initdb:
            raise StackError("PostgreSQL's server is not installed: run Scripts/bootstrap")
        return os.path.dirname(os.path.realpath(initdb))

    def _initialize(self):
        """Makes the data directory under another name first: a half-made one is never mistaken for a whole one."""
        new = os.path.join(self.home, "new")
        shutil.rmtree(new, ignore_errors=True)
        password = os.path.join(self.home, "password")
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(16))
        if self.user:
            shutil.chown(password, self.user, self.user)
        # Names sort by bytes, so that a prefix search can use a plain index, while upper and lower case
        # are Unicode's.
        made = self._run(
            os.path.join(self.bin, "initdb"), "-D", new, "--username=parley", f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-collate=C", "--no-instructions",
        )
        if made.returncode == 0:
            with open(os.path.join(new, "postgresql.conf"), "a", encoding="utf-8") as file:
                file.write("\ninclude 'parley.conf'\n")
            with open(os.path.join(new, "parley.conf"), "a", encoding="utf-8"):
                pass
            made = self._run(
                os.path.join(self.bin, "postgres"), "--single", "-D", new, "postgres",
                input=f"CREATE DATABASE {DATABASE}\n",
            )
        if made.returncode != 0:
            raise StackError(f"PostgreSQL's data directory could not be made:\n{made.stdout}")
        os.rename(new, self.data)


def postgres_answers(bin_directory, port):
    """Whether PostgreSQL takes connections."""
    return subprocess.run(
        [os.path.join(bin_directory, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "2"], check=False
    ).returncode == 0


def release(data):
    """Makes a data directory ready for a new server after its old one was killed.

    The old one's backends may outlive it for a while. Once they are gone its lock file means nothing, but
    PostgreSQL would believe it as long as the pid exists, be it as a zombie that nobody reaps."""
    lock = os.path.join(data, "postmaster.pid")
    with contextlib.suppress(FileNotFoundError, ValueError):
        with open(lock, encoding="utf-8") as file:
            server = int(file.readline())
        living = processes.living_in(data)
        if server in living:
            raise StackError(f"a PostgreSQL that this stack has no record of runs in {data}: pid {server}")
        processes.signal_all(living, signal.SIGKILL)
        if not processes.wait(lambda: not processes.living_in(data), 10):
            raise StackError(f"processes of a killed PostgreSQL do not end: {processes.living_in(data)}")
        os.unlink(lock)
