/** What the source refuses is refused through the mount, with the same error: names and paths that are too long, a file system that has become read-only, a quota that is used up. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { run } from '../support/files.ts'
import { describeWith, testWith } from '../support/requires.ts'
import { startTwins } from '../support/twins.ts'

/** Defines `outcome(call)`: `ok`, or the errno's name. */
const OUTCOME = `
def outcome(call):
    try:
        call()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
def made(path, flags=0):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | flags))`

/** Each call that takes a name, with names at the limit and beyond it; and targets of links, and whole paths. */
const NAMES = `
def outcomes(directory):
    os.chdir(directory)
    made("file"), made("other")
    told = []
    for length in (255, 256, 1023, 1024, 1025, 4095, 4096):
        name = "n" * length
        for what, call in {
            "stat": lambda: os.stat(name),
            "mkdir": lambda: (os.mkdir(name), os.rmdir(name)),
            "rmdir": lambda: os.rmdir(name),
            "open": lambda: (made(name), os.unlink(name)),
            "symlink": lambda: (os.symlink("target", name), os.unlink(name)),
            "fifo": lambda: (os.mkfifo(name), os.unlink(name)),
            "link": lambda: (os.link("file", name), os.unlink(name)),
            "rename": lambda: (os.rename("other", name), os.rename(name, "other")),
            "rename from": lambda: os.rename(name, "other"),
            "unlink": lambda: os.unlink(name),
            "target": lambda: (os.symlink(name, "link"), os.unlink("link")),
            "path": lambda: os.stat(("./" * 2048 + "file")[-length:]),
        }.items():
            told.append([length, what, outcome(call)])
    os.chdir("/")
    return told`

/** Each call that changes something, of a file that is there; what only reads goes on. */
const CHANGES = `
def outcomes(directory):
    f = lambda name: directory + "/" + name
    calls = {
        "read": lambda: open(f("file")).read(),
        "list": lambda: os.listdir(directory),
        "write": lambda: os.open(f("file"), os.O_WRONLY),
        "cut at open": lambda: os.open(f("file"), os.O_WRONLY | os.O_TRUNC),
        "create": lambda: made(f("new")),
        "open or create": lambda: made(f("file")),
        "create alone": lambda: made(f("file"), os.O_EXCL),
        "tmpfile": lambda: os.open(directory, os.O_TMPFILE | os.O_RDWR),
        "truncate": lambda: os.truncate(f("file"), 1),
        "mkdir": lambda: os.mkdir(f("made")),
        "rmdir": lambda: os.rmdir(f("directory")),
        "symlink": lambda: os.symlink("target", f("link")),
        "link": lambda: os.link(f("file"), f("hard")),
        "fifo": lambda: os.mkfifo(f("fifo")),
        "rename": lambda: os.rename(f("file"), f("moved")),
        "unlink": lambda: os.unlink(f("file")),
        "chmod": lambda: os.chmod(f("file"), 0o600),
        "chown": lambda: os.chown(f("file"), 1, 1),
        "utime": lambda: os.utime(f("file"), (1, 1)),
        "setxattr": lambda: os.setxattr(f("file"), "user.name", b"value"),
        "removexattr": lambda: os.removexattr(f("file"), "user.name"),
    }
    return [[what, outcome(call)] for what, call in calls.items()]`

/** Writes in each way until no more is let. */
const FILL = `
def outcomes(directory):
    told = []
    f = os.open(directory + "/filled", os.O_CREAT | os.O_RDWR)
    def fill():
        while os.fstat(f).st_size < 1 << 26:
            os.write(f, bytes(1 << 20))
        raise AssertionError("no quota")
    told.append(["write", outcome(fill)])
    told.append(["fallocate", outcome(lambda: os.posix_fallocate(f, 0, 1 << 26))])
    told.append(["fsync", outcome(lambda: os.fsync(f))])
    told.append(["size", os.fstat(f).st_size >> 20])
    told.append(["overwrite", outcome(lambda: os.pwrite(f, b"x" * 4096, 0))])
    os.close(f)
    return told`

for (const [how, flags] of [
  ['with passthrough', {}],
  ['through the daemon', { passthrough: false as const }],
] as const)
  describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], `refused as natively, ${how}`, () => {
    test('are names, targets and paths that are too long', async () => {
      await using twins = await startTwins('xfs', flags)
      await using client = startClient()
      await client.run(OUTCOME + NAMES)
      const { native, mounted } = twins.make('names')
      const natively = await client.value<string[][]>('outcomes(directory)', { directory: native })
      expect(natively).toContainEqual([256, 'mkdir', 'ENAMETOOLONG'])
      expect(await client.value('outcomes(directory)', { directory: mounted })).toEqual(natively)
    })

    test('are changes of a source that has been remounted read-only; what reads goes on, and so do changes once it can be written again', async () => {
      await using twins = await startTwins('xfs', { ...flags, homes: false })
      await using client = startClient()
      await client.run(OUTCOME + CHANGES)
      const { native, mounted } = twins.make('changed')
      for (const place of [native, mounted]) {
        fs.writeFileSync(`${place}/file`, 'bytes')
        fs.mkdirSync(`${place}/directory`)
      }
      run('mount', '-o', 'remount,ro', twins.filesystem.path)
      const natively = await client.value<string[][]>('outcomes(directory)', { directory: native })
      expect(natively).toContainEqual(['write', 'EROFS'])
      expect(await client.value('outcomes(directory)', { directory: mounted })).toEqual(natively)
      run('mount', '-o', 'remount,rw', twins.filesystem.path)
      fs.appendFileSync(`${mounted}/file`, ' and more')
      expect(fs.readFileSync(`${twins.places('changed').source}/file`, 'utf8')).toBe('bytes and more')
    })

    testWith(['btrfs'], 'is what goes beyond the quota of a subvolume', async () => {
      await using twins = await startTwins('btrfs', flags, { size: 2 ** 30 })
      await using client = startClient()
      await client.run(OUTCOME + FILL)
      const { native, mounted, source } = twins.places('limited')
      run('btrfs', 'quota', 'enable', twins.filesystem.path)
      for (const directory of [native, source]) {
        run('btrfs', 'subvolume', 'create', directory)
        run('btrfs', 'qgroup', 'limit', '16m', directory)
      }
      const natively = await client.value<string[][]>('outcomes(directory)', { directory: native })
      expect(natively).toContainEqual(['write', 'EDQUOT'])
      expect(await client.value('outcomes(directory)', { directory: mounted })).toEqual(natively)
    })
  })
