"""Processes that help: the parts of a batch side by side, with no lock of Python's between them.

Threads hand Python's lock to each other at every call of NumPy, which costs a step of many small calls more than a second
core brings. A process has a lock of its own. In a block of `kept()`, `side_by_side` forks helpers at its first call, which
have a copy of all that the function refers to; what it is called with, and what comes back, lies in memory that all share.
The parts are those that threads would work out, and so are their numbers, to the bit.

A helper computes and does nothing else: it writes no file and prints nothing, Ctrl-C is its parent's affair, and it ends with
its parent, however that ends. SAVI_HELPERS=0 in the environment leaves helpers out, and so does one thread (threads.py), a
Python without the lock, whose threads do the same, and a system other than Linux.
"""

import contextlib
import contextvars
import os
import pickle
import signal
import sys
import threading
import time
import warnings

from . import blas, given, shared, threads

IDLE = ("savi", "tqdm")  # whose threads may be there while a process is forked: those of parts, and a progress bar's
PART, LONG = 2.5e7, 5e7  # multiplications: the least of a part's step, the most of a batch's pass from turn to turn
_kept = contextvars.ContextVar("kept", default=None)


@contextlib.contextmanager
def kept():
    """A block in which helpers are kept once they are there, for the first owners that ask for some."""
    before, team = _kept.get(), Team() if _possible() else None
    _kept.set(team)
    try:
        yield
    finally:
        if team:
            team.close()
        _kept.set(before)


def _possible():
    """Whether settings, system and Python are those that the first lines of this page name, and a fork is safe: from the main
    thread, where no other can hold a lock that a helper would wait for, and with one thread in the matrix library."""
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    asked = given.digits("SAVI_HELPERS", os.environ.get("SAVI_HELPERS") or "1") > 0 and threads.count() > 1
    idle = all(thread.name.startswith(IDLE) or type(thread).__module__.startswith(IDLE) for thread in _others())
    safe = idle and threading.current_thread() is threading.main_thread() and blas.holds()
    return asked and locked and sys.platform == "linux" and safe


def _others():
    """All threads but the main one."""
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def parts(n, work, passes, itemsize, turns=1, most=None):
    """In how many parts `side_by_side` should work on n examples; 1 where helpers gain nothing, or there are none.

    work: multiplications in one pass of an example; passes: in all; turns: of a pass (Decoder.turns); most: how many examples go
    through it at a time in each part, None for all. To ask a helper and to hear of it takes half a millisecond, which a step has to
    be worth, half as much where a pass has turns, at each of which threads wait; and where it is long from turn to turn, threads do
    as well (tests/benchmarks/ways.py).
    """
    if _kept.get() is None or threads.inside():
        return 1
    per_example = work * itemsize / 4  # so many of single precision take as long
    at_once = n if most is None else min(n, most * threads.count())
    least = PART if turns == 1 else PART / 2
    worth = n * per_example * passes // least if at_once * per_example / turns <= LONG else 1
    return max(1, min(threads.count(), n, int(worth)))


def side_by_side(function, items, arguments, owners):
    """[function(item, *arguments) for each of items], as threads.side_by_side: the first here, each other by a helper.

    function: the same as ever for the same owners, a tuple of objects, but for what a call is given: a helper has it, and all it
    refers to, as it was when the helper was forked. What comes back holds until the next call. An error in a part is raised
    here. Where no helper can be had, threads do it; where one has ended, a RuntimeWarning says so, and they do it from then on.
    """
    team = _kept.get()
    if team and team.ready(function, len(items) - 1, arguments, owners):
        try:
            return team.work(items, arguments)
        except Gone as error:
            warnings.warn(f"{error}; threads go on without", RuntimeWarning, stacklevel=2)
    return threads.side_by_side(lambda item: function(item, *arguments), items)


def processor_seconds():
    """What this process has used so far, and the helpers of this block with it."""
    team = _kept.get()
    return time.process_time() + (team.spent + sum(helper.seconds for helper in team.members) if team else 0.0)


def there(*owners):
    """Whether this block has helpers, and for these owners."""
    team = _kept.get()
    return bool(team and team.members) and team.belongs_to(owners)


def members():
    """The process ids of this block's helpers."""
    team = _kept.get()
    return [helper.pid for helper in team.members] if team else []


class Gone(RuntimeError):
    """A helper ended that should not have."""


class Team:
    """The helpers of one block."""

    def __init__(self):
        self.owners, self.members, self.spent = None, [], 0.0

    def ready(self, function, count, arguments, owners):
        """Whether `count` helpers are there for these owners, forked now where they are not."""
        try:
            if self.owners is None:
                self.function, self.owners, self.room = function, owners, shared.room(arguments)
            if not self.belongs_to(owners):
                return False
            while len(self.members) < count:
                self.members.append(Helper(self.function, self.room, shared.room(arguments)))
        except OSError:  # no process, or no memory
            self.close()
        return len(self.members) >= count

    def belongs_to(self, owners):
        """Whether they are the first that asked."""
        return len(owners) == len(self.owners) and all(one is other for one, other in zip(owners, self.owners))

    def work(self, items, arguments):
        """`side_by_side`. Whatever is raised, no helper works on afterwards: they are ended."""
        asked = list(zip(self.members, items[1:]))
        try:
            question = shared.packed(arguments, self.room)
            for helper, item in asked:
                helper.ask(item, question)
            return [threads.alone(self.function, items[0], *arguments)] + [helper.answer() for helper, _ in asked]
        except BaseException:
            self.close()
            raise

    def close(self):
        """End all helpers, at once, as they have nothing to lose, and have no more."""
        self.owners = ()
        while self.members:
            helper = self.members.pop()
            self.spent += helper.seconds
            helper.end()


class Helper:
    """A process that works out function(item, *arguments), again and again."""

    def __init__(self, function, questions, answers):
        from multiprocessing import connection  # a twentieth of a second, for who needs it

        self.answers, self.seconds, self.how = answers, 0.0, None  # where they lie; used so far; how it ended
        self.pipe, there = connection.Pipe()
        old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
                self.pid = os.fork()
            if self.pid == 0:
                _serve(function, there, questions, answers)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        there.close()

    def ask(self, item, question):
        """Begin with an item. Raises Gone."""
        with self._there():
            self.pipe.send_bytes(pickle.dumps((item, question)))

    def answer(self):
        """What came of it; what the part warned of is warned of here. Raises Gone, or what the part raised."""
        with self._there():
            answer = self.pipe.recv_bytes()
        error, result, warned, self.seconds = shared.unpacked(pickle.loads(answer), self.answers)
        for text, kind, file, line in warned:
            warnings.warn_explicit(text, kind, file, line)
        if error is not None:
            raise error
        return result

    @contextlib.contextmanager
    def _there(self):
        try:
            yield
        except (EOFError, OSError) as error:
            how = self.end()
            raise Gone(f"a helper process {f'was ended by signal {-how}' if how < 0 else 'ended'}") from error

    def end(self):
        """End it, wherever it is; returns how it ended."""
        self.pipe.close()
        if self.how is None:
            self.how = 0  # where nobody knows, as somebody else has asked
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                self.how = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.how


def _serve(function, pipe, questions, answers):
    """What a helper does until the other end of its pipe is closed; it never returns."""
    try:
        _let_go(pipe.fileno())
        with warnings.catch_warnings(record=True) as warned, blas.one_thread():
            while True:
                item, question = pickle.loads(pipe.recv_bytes())
                error = result = None
                try:
                    result = threads.alone(function, item, *shared.unpacked(question, questions))
                except Exception as raised:
                    error = _sendable(raised)
                said = [(str(w.message), w.category, w.filename, w.lineno) for w in warned]
                warned.clear()
                pipe.send_bytes(pickle.dumps(shared.packed((error, result, said, time.process_time()), answers)))
    finally:
        os._exit(0)


def _let_go(pipe):
    """Of the parent's files and pipes, a copy of which would keep them open, and of what it does at a signal."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != pipe:
            with contextlib.suppress(OSError):
                os.close(number)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _sendable(error):
    """The error, or one that says the same where it would not survive the way."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
