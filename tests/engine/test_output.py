"""What is printed never ends the work, and whether something was lost is known."""

import errno
import io
import os
import sys

import pytest

from savi.engine.output import Output, outlasting


class Closed(io.StringIO):
    """A stream that nobody reads."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


class Full(io.StringIO):
    """A stream that takes words and cannot pass them on."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stream, lost", [(io.StringIO(), False), (Closed(), True), (Full(), True)])
def test_printing_goes_on_and_says_whether_something_was_lost(monkeypatch, stream, lost):
    monkeypatch.setattr(sys, "stdout", stream)
    with outlasting() as was_lost:
        print("one line")
        print("another", flush=True)
        print("the end", end="")
    assert was_lost() is lost and sys.stdout is stream
    assert stream.getvalue() == ("" if isinstance(stream, Closed) else "one line\nanother\nthe end")


def test_standard_error_is_looked_after_too_and_a_stream_that_is_not_there_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", Closed())
    with outlasting() as was_lost:
        print("nowhere")
        assert not was_lost()
        print("nobody", file=sys.stderr)
        assert was_lost() and sys.stdout is None


def test_both_streams_are_given_back_after_an_error(monkeypatch):
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyboardInterrupt), outlasting():
        raise KeyboardInterrupt
    assert (sys.stdout, sys.stderr) == before


def test_a_line_is_written_at_once_and_the_rest_at_the_end(tmp_path, monkeypatch):
    path = tmp_path / "out"
    with open(path, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with outlasting():
            print("a line")
            assert path.read_text() == "a line\n"
            print("the rest", end="")
            assert path.read_text() == "a line\n"
        assert path.read_text() == "a line\nthe rest"


def test_letters_that_a_stream_has_not_are_spelled(tmp_path, monkeypatch):
    with open(tmp_path / "out", "w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with outlasting() as was_lost:
            print("1 ± 2")
    assert (tmp_path / "out").read_text() == "1 \\xb1 2\n" and not was_lost()


def test_after_a_loss_the_descriptor_leads_nowhere_so_that_nothing_is_tried_again():
    read, write = os.pipe()
    os.close(read)
    stream = Output(open(write, "w"))
    assert stream.write("a line\n") == 7 and stream.lost
    stream.stream.close()  # would raise BrokenPipeError, as Python does when it ends


def test_everything_else_is_the_streams_own():
    assert Output(sys.__stdout__).encoding == sys.__stdout__.encoding
