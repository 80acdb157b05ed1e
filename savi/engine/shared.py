"""Arrays in memory that several processes see: what one has packed there another unpacks, and nothing is copied twice.

A room is memory that a process has before it forks others. `packed` writes the arrays in a thing to a room, from its
beginning, and gives what else there is to the thing; `unpacked` gives it back with arrays that are views into the room, to the
bit what they were, and which hold until the room is written to again.
"""

import mmap
import pickle

ALIGNMENT = 64


def room(like):
    """A room for things with twice the bytes in arrays that `like` has; it takes memory as it is written to. Raises OSError."""
    sizes = []
    pickle.dumps(like, 5, buffer_callback=lambda buffer: sizes.append(_rounded(buffer.raw().nbytes)))
    return mmap.mmap(-1, 2 * sum(sizes) + (1 << 20))


def packed(thing, room):
    """(bytes, where in the room the arrays of the thing lie): what does not fit into the room is among the bytes."""
    memory, places, free = memoryview(room), [], 0

    def place(buffer):
        nonlocal free
        raw = buffer.raw()
        end = free + raw.nbytes
        if end > len(memory):
            return True
        memory[free:end] = raw
        places.append((free, end))
        free = _rounded(end)
        return False

    return pickle.dumps(thing, 5, buffer_callback=place), places


def unpacked(packed, room):
    """The thing of `packed`."""
    data, places = packed
    memory = memoryview(room)
    return pickle.loads(data, buffers=[memory[start:end] for start, end in places])


def _rounded(size):
    return -(-size // ALIGNMENT) * ALIGNMENT
