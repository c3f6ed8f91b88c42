"""A stack: two stores, gateways and workers, described by stack.json in its directory."""

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess

from . import processes, stores
from .processes import StackError

READY_SECONDS = 60
MIGRATE_SECONDS = 120
DRAIN_SECONDS = 20  # beyond the gateways' own window
STORE_SECONDS = 15


def drain_seconds(record):
    """How long a process may take to end."""
    return DRAIN_SECONDS + int(record["env"].get("PARLEY_DRAIN_MS", "0")) / 1000


class Stack:
    def __init__(self, root, directory):
        self.root = root
        self.directory = os.path.abspath(directory)
        self.load()

    def load(self):
        """Reads what stack.json or, while the stack is starting, starting.json says."""
        self.entries = {}  # records by name, in the order of starting
        self.ready = False
        for name in ("stack.json", "starting.json"):
            with contextlib.suppress(FileNotFoundError):
                with open(self.path(name), encoding="utf-8") as file:
                    described = json.load(file)
                stores_ = [described[key] for key in ("redis", "postgres", "push-mock") if key in described]
                for record in stores_ + described["gateways"] + described["workers"]:
                    self.entries[record["name"]] = record
                self.ready = name == "stack.json"
                break

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    @contextlib.contextmanager
    def locked(self):
        """One command at a time may change what runs; it sees what the one before it left."""
        os.makedirs(self.path("logs"), exist_ok=True)
        with open(self.path("lock"), "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.load()
            yield

    def save(self):
        """Writes stack.json or, until everything is ready, starting.json: whoever finds stack.json may use it."""
        described = {"gateways": [], "workers": []}
        for record in self.entries.values():
            if record["kind"] in ("gateway", "worker"):
                described[record["kind"] + "s"].append(record)
            else:
                described[record["kind"]] = record
        target = self.path("stack.json" if self.ready else "starting.json")
        # Readable by its owner alone: the PostgreSQL URL holds a password.
        descriptor = os.open(target + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(described, file, indent=2)
        os.replace(target + ".new", target)
        if self.ready:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path("starting.json"))

    def forget(self):
        for name in ("stack.json", "starting.json"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))

    def record(self, name):
        if name not in self.entries:
            known = ", ".join(self.entries) or "none: no stack was started here"
            raise StackError(f"no process {name} in {self.directory} (there are: {known})")
        return self.entries[name]

    def running(self):
        return [name for name, record in self.entries.items() if processes.state(record) != "ended"]

    # Starting

    def up(self, options):
        """Starts everything; returns when all are ready. Leaves nothing running when it fails."""
        running = self.running()
        if running:
            part = "already runs" if len(running) == len(self.entries) else "runs in part"
            raise StackError(f"the stack in {self.directory} {part} ({', '.join(running)}); Scripts/stack down ends it")
        parley = self.find_parley(options.build)
        gateway_ports, taken = self.choose_ports(options)
        self.entries, self.ready = {}, False
        self.forget()
        try:
            self.start_stores(taken)
            common = self.environment(options, gateway_ports)
            if options.push_mock:
                common |= self.add_push_mock(parley, processes.free_port(taken))
            self.migrate(parley, common)
            for number, port in enumerate(gateway_ports, 1):
                self.add_gateway(parley, f"gateway-{number}", port, common)
            for number in range(1, options.workers + 1):
                self.add_worker(parley, f"worker-{number}", processes.free_port(taken), common)
            for name, setting in options.set:
                variable, _, value = setting.partition("=")
                self.record(name)["env"][variable] = value
            self.start([r for r in self.entries.values() if r["kind"] not in ("redis", "postgres")])
            self.ready = True
            self.save()
        except BaseException:
            self.end_all(grace=5)
            self.forget()
            raise

    def find_parley(self, build):
        directory = os.path.join(self.root, ".build", build) if build in ("debug", "release") else build
        parley = os.path.abspath(os.path.join(directory, "parley"))
        if not os.access(parley, os.X_OK):
            how = f": swift build -c {build}" if build in ("debug", "release") else ""
            raise StackError(f"there is no {parley}{how}")
        return parley

    def choose_ports(self, options):
        """The gateways' ports, and all that are spoken for."""
        taken, ports = set(), []
        for number in range(options.gateways):
            wanted = options.port + number if options.port else None
            if wanted and wanted < 65536 and processes.is_free(wanted):
                taken.add(wanted)
                ports.append(wanted)
            elif wanted and number == 0:
                raise StackError(f"port {wanted} is taken; --port chooses another")
            else:
                ports.append(processes.free_port(taken))
        return ports, taken

    def start_stores(self, taken):
        redis = stores.Redis(self.root, self.directory, processes.free_port(taken))
        self.add("redis", "redis", redis.argv, {}, port=redis.port, url=redis.url, data=redis.data)
        postgres = stores.Postgres(self.root, self.directory, processes.free_port(taken))
        self.add(
            "postgres", "postgres", postgres.argv, {}, url=postgres.url, port=postgres.port, data=postgres.data,
            bin=postgres.bin, user=postgres.user, stop_signal=signal.SIGINT,  # SIGTERM would wait for the clients
        )
        self.start(list(self.entries.values()))

    def environment(self, options, ports):
        """What every process gets. PARLEY_ settings of the caller pass, but never its URLs: the stack is private."""
        key = self.path("token.key")
        if not os.path.exists(key):
            descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        inherited = {
            k: v for k, v in os.environ.items()
            if k.startswith("PARLEY_") and not k.endswith(("_URL", "_URL_FILE"))
        }
        origins = [f"http://{host}:{port}" for port in ports for host in ("127.0.0.1", "localhost")]
        return {
            **inherited,
            "PARLEY_REDIS_URL": self.entries["redis"]["url"],
            "PARLEY_POSTGRES_URL": self.entries["postgres"]["url"],
            "PARLEY_TOKEN_KEY_FILE": key,
            "PARLEY_PASSWORD_COST": "full" if options.full_hashing else "cheap",
            "PARLEY_RATE_LIMITS": "on" if options.rate_limits else "off",
            "PARLEY_LOG_LEVEL": options.log_level,
            "PARLEY_ALLOWED_ORIGINS": ",".join(origins),
            "PARLEY_DRAIN_MS": inherited.get("PARLEY_DRAIN_MS", "5000"),
        }

    def migrate(self, parley, settings):
        log = self.path("logs", "migrate.log")
        with open(log, "ab") as output:
            mark = output.tell()
            try:
                status = subprocess.run(
                    [parley, "migrate"], env=processes.environment(settings), stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, timeout=MIGRATE_SECONDS, start_new_session=True, check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                status = f"none within {MIGRATE_SECONDS} s"
        if status != 0:
            raise StackError(f"parley migrate failed (exit status {status}); {log} says:\n{processes.tail(log, mark)}")

    def add_gateway(self, parley, name, port, common):
        url = f"http://127.0.0.1:{port}"
        self.add(
            name, "gateway", [parley, "gateway", "--name", name, "--bind", "127.0.0.1", "--port", str(port)],
            {**common, "PARLEY_PUBLIC_URL": url}, url=url, ready=f"{url}/readyz",
        )

    def add_worker(self, parley, name, port, common):
        url = f"http://127.0.0.1:{port}"
        self.add(
            name, "worker", [parley, "worker", "--name", name], {**common, "PARLEY_HEALTH_PORT": str(port)}, url=url,
            ready=f"{url}/readyz",
        )

    def add_push_mock(self, parley, port):
        """A mock of push services with a certificate of its own; returns the settings that lead to it."""
        certificate, key, url = self.path("push-mock.pem"), self.path("push-mock.key"), f"https://127.0.0.1:{port}"
        if not os.path.exists(certificate):
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-days", "3650", "-subj", "/CN=push-mock", "-addext", "subjectAltName=IP:127.0.0.1",
                 "-keyout", key, "-out", certificate],
                check=True, capture_output=True,
            )
        vapid, secret = self.path("vapid.key"), "the secret of a mock"
        if not os.path.exists(vapid):
            made = subprocess.run([parley, "push", "vapid"], check=True, capture_output=True, text=True).stdout
            descriptor = os.open(vapid, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(made)
        self.add(
            "push-mock", "push-mock",
            [os.path.join(os.path.dirname(parley), "parley-load"), "push-mock", "--port", str(port),
             "--certificate", certificate, "--key", key, "--webhook-secret", secret],
            {}, url=url, port=port,
        )
        return {
            "PARLEY_PUSH_VAPID_KEY_FILE": vapid, "PARLEY_PUSH_SUBJECT": "mailto:nobody@localhost",
            "PARLEY_PUSH_WEBHOOK_URL": f"{url}/webhook", "PARLEY_PUSH_WEBHOOK_SECRET": secret,
            "PARLEY_PUSH_CA_FILE": certificate, "PARLEY_PUSH_PRIVATE_ADDRESSES": "allowed",
        }

    def add(self, name, kind, argv, env, stop_signal=signal.SIGTERM, **more):
        self.entries[name] = {
            "name": name, "kind": kind, **more, "pid": 0, "start_ticks": None, "log": self.path("logs", f"{name}.log"),
            "stop_signal": int(stop_signal), "argv": argv, "env": env,
        }

    def add_running(self, kind, zone=None):
        """Starts one more gateway or worker of a running stack; returns its record when it is ready."""
        fellows = [record for record in self.entries.values() if record["kind"] == kind]
        if not self.ready or not fellows:
            raise StackError(f"no stack with a {kind} runs in {self.directory}")
        numbers = [int(record["name"].rpartition("-")[2]) for record in fellows]
        name, parley = f"{kind}-{max(numbers) + 1}", fellows[0]["argv"][0]
        common = {**fellows[0]["env"], **({"PARLEY_ZONE": zone} if zone else {})}
        number = processes.free_port({record.get("port") for record in self.entries.values()})
        (self.add_gateway if kind == "gateway" else self.add_worker)(parley, name, number, common)
        try:
            self.start([self.entries[name]])
        except BaseException:
            del self.entries[name]
            self.save()
            raise
        return self.entries[name]

    def start(self, records):
        """Starts processes side by side and waits until each is ready."""
        marks = {}
        for record in records:
            if record["kind"] == "postgres":
                stores.release(record["data"])
            marks[record["name"]] = os.path.getsize(record["log"]) if os.path.exists(record["log"]) else 0
            processes.spawn(record)
            self.save()
        for record in records:
            settled = processes.wait(lambda: processes.state(record) == "ended" or self.answers(record), READY_SECONDS)
            if not settled or processes.state(record) == "ended":
                how = "ended while starting" if settled else f"was not ready within {READY_SECONDS} s"
                processes.kill(record)
                last = processes.tail(record["log"], marks[record["name"]])
                raise StackError(f"{record['name']} {how}; {record['log']} says:\n{last}")

    def answers(self, record):
        if record["kind"] == "redis":
            return stores.redis_answers(record["port"])
        if record["kind"] == "postgres":
            return stores.postgres_answers(record["bin"], record["port"])
        if record["kind"] == "push-mock":
            return processes.listens(record["port"])
        return processes.answers(record["ready"])

    # Ending

    def end_all(self, grace=None):
        """Ends all: first those that use the stores. Returns the names of those that had to be killed."""
        users = [r for r in self.entries.values() if r["kind"] in ("gateway", "worker")]
        late = []
        try:
            late += processes.end(users, grace or max(map(drain_seconds, users), default=DRAIN_SECONDS))
        finally:
            late += processes.end([r for r in self.entries.values() if r not in users], STORE_SECONDS)
        return [record["name"] for record in late]

    def wipe(self):
        """Removes the data of a stack that is down, also PostgreSQL's where that lies elsewhere."""
        home = self.path("postgres")
        for path in (os.path.realpath(home), self.path("redis"), self.path("logs")):
            shutil.rmtree(path, ignore_errors=True)
        if os.path.islink(home):
            os.unlink(home)
        for name in ("token.key", "push-mock.pem", "push-mock.key", "vapid.key", "lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)
