"""Locks as programs take them. `locks.py DIRECTORY` works on files of the directory and prints, as JSON, what each call told."""
import fcntl, json, os, signal, struct, sys, threading, time

FLOCK = "hhqqi4x"
results = {}


def lock(fd, kind, start=0, length=0, command=fcntl.F_SETLK):
    """fcntl(2) on a range: 'ok' or the error's name; for GETLK what stands in the way."""
    kinds = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK, "u": fcntl.F_UNLCK}
    try:
        told = fcntl.fcntl(fd, command, struct.pack(FLOCK, kinds[kind], 0, start, length, 0))
    except OSError as error:
        return os.strerror(error.errno)
    if command not in (fcntl.F_GETLK, fcntl.F_OFD_GETLK):
        return "ok"
    kind, _, start, length, pid = struct.unpack(FLOCK, told)
    holder = "nobody" if kind == fcntl.F_UNLCK else "child" if pid in children else "self" if pid == os.getpid() else pid
    return [kind] if kind == fcntl.F_UNLCK else [kind, start, length, holder]


def flock(fd, how):
    try:
        fcntl.flock(fd, how)
        return "ok"
    except OSError as error:
        return os.strerror(error.errno)


class Child:
    """A process that evaluates what it is told to, and says what came of it."""

    def __init__(self):
        a, self.write = os.pipe()
        self.read, b = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.write), os.close(self.read)
            requests = os.fdopen(a)
            names = {**globals(), "fd": os.open(path, os.O_RDWR)}
            for line in requests:
                os.write(b, (json.dumps(eval(line, names)) + "\n").encode())
            os._exit(0)
        os.close(a), os.close(b)
        self.answers = os.fdopen(self.read)
        children.append(self.pid)

    def begin(self, text):
        os.write(self.write, (text + "\n").encode())

    def end(self):
        return json.loads(self.answers.readline())

    def ask(self, text):
        self.begin(text)
        return self.end()

    def finish(self):
        os.close(self.write)
        os.waitpid(self.pid, 0)


class Interrupted(Exception):
    pass


def interruptible(fd, seconds):
    """Waits for a lock until a signal comes."""

    def alarm(*_):
        raise Interrupted

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return lock(fd, "w", command=fcntl.F_SETLKW)
    except Interrupted:
        return "interrupted"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


children = []
directory = sys.argv[1]
path = os.path.join(directory, "locked")
with open(path, "wb") as file:
    file.write(b"x" * 100)
here = os.open(path, os.O_RDWR)
other = Child()

# Ranges.
results["set"] = lock(here, "w", 10, 10)
results["excluded"] = other.ask("lock(fd, 'r', 15, 1)")
results["beside"] = other.ask("lock(fd, 'w', 20, 10)")
results["who"] = other.ask("lock(fd, 'w', 0, 0, fcntl.F_GETLK)")[:3]
results["who, to the parent"] = lock(here, "w", 0, 0, fcntl.F_GETLK)
results["shared"] = [lock(here, "r", 50, 10), other.ask("lock(fd, 'r', 55, 10)"), lock(here, "w", 55, 1)]
results["split"] = [lock(here, "u", 13, 2), other.ask("lock(fd, 'w', 13, 2)"), other.ask("lock(fd, 'w', 12, 1)")]
results["to the end"] = [lock(here, "w", 1000, 0), other.ask("lock(fd, 'w', 1 << 40, 1)")]
results["beyond 63 bits"] = lock(here, "w", (1 << 63) - 1, 2)

# A closed descriptor takes the process's locks with it, whichever descriptor it was.
os.close(os.open(path, os.O_RDONLY))
results["closed"] = other.ask("lock(fd, 'w', 10, 3)")
other.ask("lock(fd, 'u')")

# Waiting.
lock(here, "w")
other.begin("lock(fd, 'w', 0, 0, fcntl.F_SETLKW)")
time.sleep(0.2)
lock(here, "u")
results["waited"] = other.end()
results["taken by who waited"] = lock(here, "w")
results["interrupted"] = interruptible(here, 0.2)
other.ask("lock(fd, 'u')")
results["free after the interruption"] = other.ask("lock(fd, 'w')")
other.ask("lock(fd, 'u')")

# A circle.
lock(here, "w", 0, 1), other.ask("lock(fd, 'w', 1, 1)")
other.begin("lock(fd, 'w', 0, 1, fcntl.F_SETLKW)")
time.sleep(0.2)
results["circle"] = lock(here, "w", 1, 1, fcntl.F_SETLKW)
lock(here, "u")
results["the circle is broken"] = other.end()
other.ask("lock(fd, 'u')")

# Who dies holds nothing.
mortal = Child()
mortal.ask("lock(fd, 'w')")
results["held by the mortal"] = lock(here, "w")
os.kill(mortal.pid, signal.SIGKILL)
os.waitpid(mortal.pid, 0)
results["after his death"] = lock(here, "w")
lock(here, "u")

# Locks of open file descriptions.
one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
results["ofd"] = [lock(one, "w", 0, 10, fcntl.F_OFD_SETLK), lock(two, "w", 5, 1, fcntl.F_OFD_SETLK), lock(here, "r", 9, 1)]
results["ofd, who"] = lock(two, "w", 0, 0, fcntl.F_OFD_GETLK)[:3]
os.close(os.open(path, os.O_RDONLY))
results["ofd, kept"] = lock(two, "w", 5, 1, fcntl.F_OFD_SETLK)
copy = os.dup(one)
os.close(one)
results["ofd, kept by its copy"] = lock(two, "w", 5, 1, fcntl.F_OFD_SETLK)
os.close(copy)
results["ofd, gone with the last"] = lock(two, "w", 5, 1, fcntl.F_OFD_SETLK)
os.close(two)

# Whole files.
SH, EX, NB, UN = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN
one, two = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
results["flock"] = [flock(one, SH | NB), flock(two, SH | NB), flock(one, EX | NB), flock(two, EX | NB), flock(one, SH | NB)]
flock(two, UN), flock(one, UN)
results["flock and ranges"] = [flock(one, EX | NB), other.ask("lock(fd, 'w')"), other.ask("lock(fd, 'u')")]
for attempt in range(50):
    os.close(one)
    one, two = two, os.open(path, os.O_RDONLY)
    if flock(one, EX | NB) != "ok":
        results["flock after a close"] = attempt
        break
else:
    results["flock after a close"] = "always"
waiting = threading.Timer(0.2, lambda: os.close(one))
waiting.start()
results["flock, waited"] = flock(two, EX)
waiting.join()

other.finish()
print(json.dumps(results))
