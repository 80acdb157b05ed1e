"""What a program prints when nobody reads it: a closed pipe and a full disk end the words, and not the work.

In `outlasting` nothing that is printed raises; what could not be written is lost, and that much is known afterwards.
"""

import contextlib
import os
import sys


class Output:
    """A text stream in place of `stream` that never raises; lost: whether something could not be written.

    A line is written at once, so that whoever reads a pipe sees how far the work is.
    """

    def __init__(self, stream):
        self.stream, self.lost = stream, False

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        """Write the text, if it can be written."""
        with self._losing():
            try:
                self.stream.write(text)
            except UnicodeEncodeError:  # letters that a terminal has not
                name = self.stream.encoding
                self.stream.write(text.encode(name, "backslashreplace").decode(name))
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self):
        """Flush, if it can be done."""
        with self._losing():
            self.stream.flush()

    @contextlib.contextmanager
    def _losing(self):
        try:
            yield
        except OSError:
            self.lost = True
            with contextlib.suppress(OSError):  # what is left in buffers goes nowhere, now and when Python ends
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)


@contextlib.contextmanager
def outlasting():
    """A block that goes on when nobody reads what it prints; yields a function that says whether something was lost."""
    before = sys.stdout, sys.stderr
    streams = [stream and Output(stream) for stream in before]  # a stream that was closed before the start is None
    sys.stdout, sys.stderr = streams
    try:
        yield lambda: any(stream.lost for stream in streams if stream)
    finally:
        for stream in filter(None, streams):
            stream.flush()
        sys.stdout, sys.stderr = before
