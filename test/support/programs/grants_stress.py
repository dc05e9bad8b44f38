"""
One of several processes that read, write and map the same file through a mount while others hold ranges of it alone.

grants_stress.py ROLE FILE SEED SECONDS BOARD: does so as a reader, writer or mapper, and prints what it found as JSON.
grants_stress.py hold [BOARD GROUP READERS]: run by `samepage exclusive`.

Each page of the file belongs to one *group* of GROUP pages. Whoever changes a group, changes all of it, to one stamp in all of its words; so a group
with two stamps was read torn. The first COUNTED groups only holders change, each to one stamp more: those never go back.

The board is a file with a word for each group, which its holder changes when he has got it and before he gives it back: a count, whether readers may go on, whether
it is held. Who finds the same word of a held group before and after he has read or written it has not waited, as he should have.
"""

import json, mmap, os, random, struct, sys, time

PAGE, GROUP, GROUPS, COUNTED = 4096, 64, 4, 2
BYTES = PAGE * GROUP
WORDS = BYTES // 8


class Board:
    def __init__(self, path):
        fd = os.open(path, os.O_RDWR)
        self.words = mmap.mmap(fd, 0)
        os.close(fd)

    def word(self, group):
        return struct.unpack_from("<Q", self.words, group * 8)[0]

    def set(self, group, held, readers_may):
        word = ((self.word(group) >> 2) + 1) << 2 | readers_may << 1 | held
        struct.pack_into("<Q", self.words, group * 8, word)


def keeps_out(word, writes):
    return word & 1 == 1 and (writes or word & 2 == 0)


def stamps(data):
    if data == data[:8] * (len(data) // 8):
        data = data[:8]
    return set(struct.unpack("<%dQ" % (len(data) // 8), data))


def page_of(mapped, at):
    """
    A page of a mapping. A copy of it takes time, in which another page can take its place: then it is a mixture of the two, and the next copy is another one.
    A page that is itself a mixture gives the same mixture again.
    """
    data = mapped[at : at + PAGE]
    while len(stamps(data)) != 1:
        again = mapped[at : at + PAGE]
        if again == data:
            break
        data = again
    return data


def main():
    role, path, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    done, wrong, seen = 0, [], {}
    fd = os.open(path, os.O_RDWR if role == "writer" else os.O_RDONLY)
    mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ) if role == "mapper" else None
    board = Board(sys.argv[5])
    while time.monotonic() < end:
        group = rng.randrange(COUNTED if role == "writer" else 0, GROUPS)
        at, length = group * BYTES, BYTES
        if role == "mapper":
            # Page by page: each is of one moment.
            at, length = at + rng.randrange(GROUP) * PAGE, PAGE
        before = board.word(group)
        if role == "writer":
            os.pwrite(fd, struct.pack("<Q", (seed << 24) | (done + 1)) * WORDS, at)
        else:
            found = stamps(page_of(mapped, at) if mapped else os.pread(fd, length, at))
            if len(found) != 1 or (group < COUNTED and min(found) < seen.get(at, 0)):
                wrong.append([role, at, seen.get(at, 0), sorted(found)])
            seen[at] = max(found)
        # What is mapped does not wait.
        if role != "mapper" and board.word(group) == before and keeps_out(before, role == "writer"):
            wrong.append([role, at, "has not waited", before])
        done += 1
        # Readers leave no moment out.
        if role != "reader":
            time.sleep(0.0005)
    print(json.dumps({"role": role, "done": done, "wrong": wrong[:5]}))


def hold():
    """Run by `samepage exclusive`: adds one to the stamp of a group that its holders count in, and says what it was."""
    data = mmap.mmap(int(os.environ["SAMEPAGE_GRANT_FD"]), 0)
    found = stamps(data[:])
    if len(found) != 1:
        print("torn", flush=True)
        sys.exit(9)
    value = found.pop() + 1
    board, group = (Board(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 2 else (None, 0)
    if board:
        board.set(group, True, sys.argv[4] == "last-published")
    for i in range(0, len(data), PAGE):
        data[i : i + PAGE] = struct.pack("<Q", value) * (PAGE // 8)
        # Long enough for somebody to see a half of it, could he.
        time.sleep(0.0005)
    if board:
        board.set(group, False, False)
    print(value, flush=True)


if sys.argv[1] == "hold":
    hold()
else:
    main()
