"""Several processes write one SQLite database at once: sqlite_writers.py DATABASE JOURNAL_MODE WRITERS TRANSACTIONS SEED

Each writer inserts rows and moves amounts between accounts; some transactions are rolled back. One writer is killed in the middle
of it, so that the others find its journal. Prints, as JSON, what the database says of itself afterwards, the sum that no transaction
changes, and which acknowledged transactions it does not have.
"""
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys

path, mode, writers, transactions, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
ACCOUNTS = 50


def connect():
    database = sqlite3.connect(path, timeout=120, isolation_level=None)
    # Pages that are cached go to disk in the middle of a transaction; reads go through a mapping.
    database.execute("PRAGMA cache_size = 20")
    database.execute("PRAGMA mmap_size = 67108864")
    return database


def work(writer, acknowledged):
    database, choose = connect(), random.Random(seed * 1000 + writer)
    for number in range(transactions):
        database.execute("BEGIN IMMEDIATE")
        for _ in range(choose.randrange(1, 4)):
            one, other = choose.sample(range(ACCOUNTS), 2)
            database.execute("UPDATE accounts SET amount = amount - 7 WHERE id = ?", (one,))
            database.execute("UPDATE accounts SET amount = amount + 7 WHERE id = ?", (other,))
        database.execute("INSERT INTO log VALUES (?, ?, ?)", (writer, number, choose.randbytes(choose.randrange(9000))))
        if choose.random() < 0.2:
            database.execute("ROLLBACK")
            continue
        database.execute("COMMIT")
        os.write(acknowledged, b"%d %d\n" % (writer, number))


database = connect()
answered = database.execute("PRAGMA journal_mode = " + mode).fetchone()[0]
database.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER)")
database.execute("CREATE TABLE log (writer INTEGER, number INTEGER, bytes BLOB, PRIMARY KEY (writer, number))")
database.executemany("INSERT INTO accounts VALUES (?, 1000)", [(n,) for n in range(ACCOUNTS)])
database.close()

reading, writing = os.pipe()
processes = [multiprocessing.Process(target=work, args=(n, writing)) for n in range(writers)]
for process in processes:
    process.start()
os.close(writing)
told = b""
while part := os.read(reading, 65536):
    told += part
    if len(told.split(b"\n")) > writers * transactions // 3 and processes[0].exitcode is None:
        os.kill(processes[0].pid, signal.SIGKILL)
for process in processes:
    process.join()

database = connect()
there = set(database.execute("SELECT writer, number FROM log"))
promised = {tuple(map(int, line.split())) for line in told.splitlines()}
print(json.dumps({
    "mode": answered,
    "integrity": [row[0] for row in database.execute("PRAGMA integrity_check")],
    "sum": database.execute("SELECT sum(amount) FROM accounts").fetchone()[0],
    "lost": sorted(promised - there),
    # The killed one may not have told of its last.
    "unasked": len(there - promised) > 1,
    "failed": [process.exitcode for process in processes[1:] if process.exitcode != 0],
}))
