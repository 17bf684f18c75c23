"""peers: the other hosts of a training; they meet, agree, stop and fail together.

Worker 0 is in the middle, with one TCP connection to each of the others. TensorFlow's own
connections between the hosts carry the gradients only: it waits for ever where a host is gone, and
for ever where two hosts do not run the same steps. So all that a host decides by its clock, its
signals or its store is agreed on here, and a thread of each host hears whether the others live.

A host whose main thread hangs lives, too. Until training ends, all hosts end where none has worked
for a while: one hangs then, and the others wait for it. How long a host works is its own affair,
since it may read from a slower disk than the others, or find nothing in its cache.

A message is its kind (one byte), its length (eight) and its content. They are:

    alive       whether the host works (one byte, or nothing); one that sends none for a while is
                lost
    data        JSON or an array file, in the order in which both sides ask for it
    end         how a host ended: exit code and message
"""

import contextlib
import faulthandler
import json
import math
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from job.device.topology import Topology
from job.errors import DeviceUnavailable, JobError, PeerLost, Preempted, UsageError
from job.process import activity, shutdown

ALIVE, DATA, END = b"a", b"d", b"e"
HEAD = struct.Struct(">cQ")
BEATS = 10
"""Signs of life in a peer timeout."""
SILENCE = 0.7
"""Share of it for which a host may give none."""
STILL = 0.8
"""Share of it for which hosts may agree on nothing, or none may work; the rest is for ending."""
SHORTEST_IDLE = 10.0
"""Seconds for which none may work in any case."""
IDLE = 1e-3
"""Share of a processor below which a process does not work, and seconds for each sign of life."""
LONGEST_END = 5.0
"""Seconds until a host ends that hangs in a sum while another one is lost."""
LONGEST_HELLO = 1 << 20
"""Bytes of a first message."""
LAST_READ = 2.0
"""Seconds for which a host waits at its end until the others have read of it."""
LONGER = 10
"""How many times as long as any before it the hosts may take from one agreement to the next, if
that is more than the peer timeout; and how many peer timeouts until the first."""
PAUSE = 0.2
"""Seconds between two tries to reach a host."""
AGAIN = (
    "Start all workers again with the same --run-id: they go on from the last checkpoint. A "
    "Kubernetes Job does so by itself."
)

SHOWN = 5
"""Differences that a message names."""


class Finished(Exception):
    """Worker 0 has ended well, and so the others do."""


class Peers:
    """The hosts of a training, as one of them sees them; a context that ends with the run.

    Whether the block ends well or not, the others are sent how. A host that is lost before
    training has ended ends all: with `PeerLost` at the next agreement, or by a thread where this
    one hangs.

    Args:
        topology: The hosts.
        timeout: Seconds until a host that cannot be reached, or gives no sign, is lost.

    Attributes:
        index: This host's number.
        hosts: How many there are.
        strategy: What trains on all of them; None before `connect`, or where nobody trains.
    """

    def __init__(self, topology: Topology, timeout: float):
        self.index, self.hosts = topology.index, len(topology.addresses)
        self.strategy: Any = None
        self._topology, self._timeout = topology, timeout
        self._links: dict[int, _Link] = {}
        self._changed = threading.Condition()
        self._error: JobError | None = None
        self._ended = threading.Event()
        self._together = self.index > 0  # whether the loss of a host ends this one
        self._agreed: float | None = None  # when the hosts last did, while they train in step
        self._longest = 0.0  # seconds from one agreement to the next
        self._deadline = math.inf  # when the next one is
        self._began = time.monotonic()
        self._worked = self._began  # when one of the hosts did
        self._excused = False  # whether this one counts as working in any case
        self._awaited: int | None = None  # the host whose content this one waits for
        self._server: socket.socket | None = None

    def __enter__(self) -> "Peers":
        if self.index == 0:
            self._listen()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, shutdown.Stop):
            exc = exc.error
        if self.index == 0 and not isinstance(exc, Preempted | PeerLost):
            self._wait_for_all()  # who comes late is sent the end, too
        self._ended.set()
        links = [*self._links.values()]
        self._send_end(exc)
        for link in links:
            link.close()
        if self._server:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._server.close()
        late = time.monotonic() + LAST_READ
        for link in links:
            link.closed.wait(max(0, late - time.monotonic()))

    def meet(self, facts: Mapping[str, object], welcome: object = None) -> Any:
        """Waits for all hosts, and compares what they say of themselves.

        Args:
            facts: Of this host (JSON values); those of all hosts must be equal.
            welcome: Of worker 0: what the others get (JSON values).

        Returns:
            The welcome.

        Raises:
            PeerLost: A host cannot be reached within the peer timeout.
            UsageError: One has other facts.
            Finished: Worker 0 needs no others and has ended.
        """
        if self.index:
            with self._excuse():
                self._reach_worker_0(facts)
            return self.agree()
        self._wait_for_all()
        if missing := [each for each in range(1, self.hosts) if each not in self._links]:
            raise self._lost(missing[0], f"nothing in {self._timeout:.0f} s")
        self._together = True
        for number, link in sorted(self._links.items()):
            expect_same("the same version and options", facts, number, link.hello, UsageError)
        return self.agree(welcome)

    def dismiss(self) -> None:
        """Worker 0 needs no others, and takes the time that it needs."""
        self._excused = True

    def agree(self, value: Any = None) -> Any:
        """What worker 0 gives here, a JSON value; all hosts must ask for it.

        Raises:
            PeerLost, JobError: A host is lost, or has ended.
        """
        return json.loads(self.agree_bytes(json.dumps(value).encode()))

    def agree_bytes(self, value: bytes = b"") -> bytes:
        """As `agree`."""
        if self.index:
            value = self._received(0)
        else:
            for number in range(1, self.hosts):
                self._send(number, value)
        if self._deadline < math.inf:
            self._go_on()
        return value

    def gather(self, value: bytes) -> list[bytes]:
        """What all hosts give, in their order; of the others than worker 0 their own only."""
        if self.index:
            self._send(0, value)
            return [value]
        return [value, *(self._received(number) for number in range(1, self.hosts))]

    def any(self, flag: bool) -> bool:
        """Whether one of the hosts says so."""
        said = self.gather(json.dumps(flag).encode())
        return bool(self.agree(any(json.loads(each) for each in said)))

    def expect_same(self, what: str, facts: Mapping[str, object], error: type[JobError]) -> None:
        """Expects all hosts to give the same facts (JSON values).

        Raises:
            JobError: Of the class `error`, on all of them: one gives others.
        """
        said = self.gather(json.dumps(facts).encode())
        for number, each in enumerate(said):
            expect_same(what, facts, number, json.loads(each), error)
        self.agree()  # so that all of them end if one differs

    def connect(self, kind: str, devices: int) -> None:
        """Connects TensorFlow of all hosts; must come before its first operation.

        Args:
            kind: cpu or gpu.
            devices: Of each host.
        """
        import tensorflow as tf

        if kind == "cpu" and devices > 1:
            raise UsageError(
                f"--devices: expected 1 on processors of several hosts. Received: {devices}.",
                hint="Leave --devices out: each host is one device.",
            )
        facts = {"device": kind, "devices": devices}
        self.expect_same("as many devices of one kind", facts, DeviceUnavailable)
        names = {address.rpartition(":")[0] for address in self._topology.addresses}
        os.environ["no_grpc_proxy"] = ",".join(sorted(names))  # noqa: SIM112 - gRPC's spelling
        self._wait_for_port()
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(self._topology.addresses)}),
            task_type="worker",
            task_id=self.index,
            num_accelerators={"GPU": devices if kind == "gpu" else 0},
            rpc_layer="grpc",
        )
        found: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # In a thread, since this one must stay free to hear signals.
        thread = threading.Thread(target=lambda: found.put(_strategy(tf, resolver)), daemon=True)
        thread.start()
        self.strategy = found.get()
        if isinstance(self.strategy, Exception):
            raise self.strategy

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Maps what TensorFlow raises because a host is lost; afterwards nobody is needed.

        Raises:
            PeerLost, JobError: A host is lost, or has ended.
        """
        import tensorflow as tf

        try:
            yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.InternalError,
        ) as exc:
            with self._changed:  # it may have found out first
                self._changed.wait_for(lambda: self._error, self._timeout)
            if self._error is None and isinstance(exc, tf.errors.InternalError):
                raise
            raise self._error or PeerLost(
                "Expected TensorFlow of all hosts to stay connected. Received: "
                f"{str(exc).splitlines()[0]}.",
                hint=AGAIN,
            ) from exc
        self._together = self.index > 0
        self._excused = True

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """All hosts do the same inside, so each ends where they agree on nothing for long.

        That finds a host whose main thread hangs while its threads give signs of life.
        """
        self._agreed, self._deadline = None, time.monotonic() + self._patience
        try:
            yield
        finally:
            self._deadline = math.inf

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Inside, worker 0 takes the time that it needs."""
        watched = self._deadline < math.inf
        self._deadline = math.inf
        with self._excuse():
            yield
        if watched:
            self._agreed = None
            self._go_on()

    @contextlib.contextmanager
    def _excuse(self) -> Iterator[None]:
        before, self._excused = self._excused, True
        try:
            yield
        finally:
            self._excused = before

    def _go_on(self) -> None:
        now = time.monotonic()
        if self._agreed is not None:
            self._longest = max(self._longest, now - self._agreed)
        self._agreed = now
        self._deadline = now + self._patience

    @property
    def _patience(self) -> float:
        """Seconds until the next agreement; many until a block of steps was measured."""
        if not self._longest:
            return LONGER * self._timeout
        return max(STILL * self._timeout, LONGER * self._longest)

    def result(self) -> None:
        """Waits for the end of worker 0.

        Raises:
            Finished, JobError: It has ended.
        """
        self._received(0)

    def _listen(self) -> None:
        _, port = self._topology.meeting
        self._server = self._bound(port)
        threading.Thread(target=self._accept, daemon=True).start()

    def _wait_for_port(self) -> None:
        """TensorFlow itself would try once."""
        self._bound(self._topology.port).close()

    def _bound(self, port: int) -> socket.socket:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        while True:
            try:
                return socket.create_server(("", port), family=family, dualstack_ipv6=both)
            except OSError as exc:
                if self._late():
                    raise self._lost(self.index, f"port {port}: {exc}") from exc
                time.sleep(PAUSE)

    def _late(self) -> bool:
        return time.monotonic() - self._began > self._timeout

    def _accept(self) -> None:
        while self._server is not None:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed: the run has ended
                return
            threading.Thread(target=self._admit, args=(connection,), daemon=True).start()

    def _admit(self, connection: socket.socket) -> None:
        """Worker 0 hears who has called."""
        link = _Link(connection, self._timeout)
        try:
            kind, content = link.read(LONGEST_HELLO)
            link.hello = json.loads(content)
            number = int(link.hello.pop("index"))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            kind, number = b"", 0
        if kind != DATA or not 0 < number < self.hosts:
            connection.close()  # not one of us
            return
        with self._changed:
            before = self._links.get(number)
            if before is not None and self._together:
                self._fail(self._lost(number, "it has started again"))
            self._links[number] = link
            self._changed.notify_all()
        self._hear(number, link)

    def _reach_worker_0(self, facts: Mapping[str, object]) -> None:
        while True:
            try:
                connection = socket.create_connection(self._topology.meeting, self._timeout)
                break
            except OSError as exc:
                if self._late():
                    raise self._lost(0, str(exc)) from exc
                time.sleep(PAUSE)
        link = self._links[0] = _Link(connection, self._timeout)
        threading.Thread(target=self._hear, args=(0, link), daemon=True).start()
        self._send(0, json.dumps({"index": self.index, **facts}).encode())

    def _wait_for_all(self) -> None:
        left = self._began + self._timeout - time.monotonic()
        with self._excuse(), self._changed:
            self._changed.wait_for(
                lambda: self._error or len(self._links) == self.hosts - 1, max(left, 0)
            )

    def _hear(self, number: int, link: "_Link") -> None:
        """Reads what a host sends, in a thread, until that or this one has ended."""
        while True:
            try:
                kind, content = link.read()
            except OSError as exc:
                silent = isinstance(exc, TimeoutError)
                why = f"no sign of life for {SILENCE * self._timeout:.0f} s" if silent else str(exc)
                end: Exception = self._lost(number, why)
                break
            if kind == END:
                end = _ended(number, json.loads(content))
                break
            if kind == DATA:
                link.inbox.put(content)
            elif content:
                self._worked = time.monotonic()
        link.forget()
        with self._changed:
            current = self._links.get(number) is link
            needed = current and self._together and not self._ended.is_set()
            if needed and isinstance(end, JobError):
                self._fail(end)
            if current and self.index == 0:
                del self._links[number]
        link.inbox.put(end)

    def _fail(self, error: JobError) -> None:
        """A host is lost: this one ends, at the next agreement or, where it hangs, by a thread."""
        with self._changed:
            if self._error:
                return
            self._error = error
            self._changed.notify_all()
        for link in [*self._links.values()]:
            link.inbox.put(error)
        threading.Thread(target=self._watch, args=(error,), daemon=True).start()

    def _watch(self, error: JobError) -> None:
        if not self._ended.wait(min(LONGEST_END, 0.1 * self._timeout)):
            self._send_end(error)
            shutdown.end(error)

    def _received(self, number: int) -> bytes:
        if self._error:
            raise self._error
        link, self._awaited = self._links.get(number), number
        content = link.inbox.get() if link else self._error
        self._awaited = None
        if isinstance(content, bytes):
            return content
        raise self._error or content or self._lost(number, "it is gone")

    def _send(self, number: int, content: bytes) -> None:
        try:
            self._links[number].send(DATA, content)
        except (OSError, KeyError) as exc:
            # What its thread has read says more: how it ended.
            with self._changed:
                self._changed.wait_for(lambda: self._error, self._timeout)
            raise self._error or self._lost(number, str(exc)) from exc

    def _send_end(self, exc: BaseException | None) -> None:
        code = getattr(exc, "exit_code", 1) if exc else 0
        content = {"exit_code": code, "message": str(exc or ""), "hint": getattr(exc, "hint", "")}
        for link in [*self._links.values()]:
            with contextlib.suppress(OSError):
                link.send(END, json.dumps(content).encode())

    def _beat(self) -> None:
        every, last = self._timeout / BEATS, self._began
        used, begun = time.process_time(), activity.begun()
        while not self._ended.wait(every):
            before = used, begun
            used, begun = time.process_time(), activity.begun()
            least, now = IDLE * (every + 1 + len(self._links)), time.monotonic()
            works = self._excused or used - before[0] > least or begun > before[1]
            if works:
                self._worked = now
            if self.index == 0:  # the others hear of each other by it
                works = self._worked > last
            last = now
            for link in [*self._links.values()]:
                with contextlib.suppress(OSError):  # its reader will find out
                    link.send(ALIVE, b"1" if works else b"", patient=False)
            if not self._error and (why := self._stands_still(now)):
                self._fail(
                    PeerLost(
                        why, hint=f"Standard error of each host has what its threads did. {AGAIN}"
                    )
                )
                faulthandler.dump_traceback()

    def _stands_still(self, now: float) -> str | None:
        if now > self._deadline:
            return (
                f"Expected all hosts to end a block of steps within {self._patience:.0f} s. "
                f"Received: nothing by then on worker {self.index}."
            )
        idle = max(SHORTEST_IDLE, STILL * self._timeout)
        if now - self._worked <= idle:
            return None
        whom = "nobody" if self._awaited is None else f"worker {self._awaited}"
        return (
            "Expected one of the hosts to use its processor. Received: none that did for "
            f"{idle:.0f} s; worker {self.index} waits for {whom}."
        )

    def _lost(self, number: int, why: str) -> PeerLost:
        address = self._topology.addresses[number]
        return PeerLost(
            f"Expected worker {number} at {address} to train along. Received: {why}.",
            hint=AGAIN,
        )


class _Link:
    """A connection to one host.

    Attributes:
        hello: What it said of itself.
        inbox: What it sent, and last an exception.
        closed: Set once nothing more is read.
    """

    def __init__(self, connection: socket.socket, timeout: float):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SILENCE * timeout)
        self.hello: dict[str, Any] = {}
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.closed = threading.Event()
        self._connection = connection
        self._sending = threading.Lock()

    def read(self, longest: int | None = None) -> tuple[bytes, bytes]:
        """The next message: its kind and content."""
        kind, length = HEAD.unpack(self._exactly(HEAD.size))
        if longest is not None and length > longest:
            raise OSError(f"expected a message of {longest} bytes at most. Received: {length}")
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        content = bytearray()
        while len(content) < length:
            more = self._connection.recv(min(length - len(content), 1 << 20))
            if not more:
                raise ConnectionError("its end of the connection is closed")
            content += more
        return bytes(content)

    def send(self, kind: bytes, content: bytes, *, patient: bool = True) -> None:
        """Sends a message; without patience none while another one is being sent."""
        if self._sending.acquire(blocking=patient):
            try:
                self._connection.sendall(HEAD.pack(kind, len(content)) + content)
            finally:
                self._sending.release()

    def close(self) -> None:
        """Lets the other host read what was sent to it."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def forget(self) -> None:
        """Closes the connection; nothing more is read."""
        self._connection.close()
        self.closed.set()


def expect_same(
    what: str,
    own: Mapping[str, object],
    number: int,
    other: Mapping[str, object],
    error: type[JobError],
) -> None:
    """Expects another host's facts to be those of worker 0.

    Raises:
        JobError: Of the class `error`: they differ; the message names what does.
    """
    own = json.loads(json.dumps(own))
    names = [name for name in {**own, **other} if own.get(name) != other.get(name)]
    if not names:
        return
    differences = [
        f"{name} {_short(own.get(name))} and {_short(other.get(name))}" for name in names[:SHOWN]
    ]
    raise error(
        f"Expected {what} on all hosts. Received on workers 0 and {number}: "
        f"{'; '.join(differences)}.",
        hint="Start all hosts with the same image, options and data.",
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _strategy(tf: Any, resolver: Any) -> Any:
    """The strategy, or an exception.

    TensorFlow's own watch over the hosts takes SIGTERM for itself and ends them after ten seconds
    without a sign; there is no public way to train without it.
    """
    from tensorflow.python.eager import context

    try:
        context.context().configure_coordination_service(service_type="")
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except Exception as exc:  # goes to the thread that waits
        return exc


def _ended(number: int, end: Mapping[str, Any]) -> Any:
    """What another host's end means to this one."""
    code, message = end["exit_code"], end["message"]
    if code == 0 and number == 0:
        return Finished()
    for kind in JobError.__subclasses__():
        # A failure that counts against the Job's retries counts once, on the host that had it.
        if kind.exit_code == code and kind.rule in ("FailJob", "Ignore"):
            return kind(f"Worker {number}: {message}", hint=end["hint"])
    return PeerLost(
        f"Expected worker {number} to train along. Received: its end with exit code {code}: "
        f"{message}",
        hint="Its own log and exit code say more; the next try goes on from the last checkpoint.",
    )
