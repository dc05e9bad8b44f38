/** What others see of the mount: inotify of what is changed through it; file handles, by which NFS servers find files, are refused. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { startTwins } from '../support/twins.ts'

const ROOT_USER = USERS[0]!

/** Something of everything, to files that are passed through and to a clone that the daemon serves. */
const CHANGES = `
cd "$1"
echo new > new; echo more >> new; chmod 600 new; mv new moved; mv moved inner/; rm inner/moved
mkdir made; rmdir made; ln -s nowhere link; ln file hard; rm link hard
dd if=/dev/zero of=clone bs=4k count=3 seek=7 conv=notrunc status=none
truncate -s 9M clone; touch file; cp file inner/copy; mv -T inner outer
`

for (const passthrough of [true, false])
  describeWith(
    ['root', 'loop', 'fuse', 'xfs', 'program:python3', 'program:rsync'],
    `observers, ${passthrough ? 'with passthrough' : 'through the daemon'}`,
    () => {
      test('inotify says of changes through the mount what it says natively', async () => {
        await using twins = await startTwins('xfs', passthrough ? {} : { passthrough: false })
        const places = twins.make('watched')
        for (const place of [places.native, places.source]) {
          fs.mkdirSync(path.join(place, 'inner'))
          fs.writeFileSync(path.join(place, 'file'), 'bytes')
          writeSynced(path.join(place, 'original'), noise(10 * MEBIBYTE, 1))
          clone(path.join(place, 'original'), path.join(place, 'clone'))
        }
        const watch = (of: string, changed: string) =>
          runPython(ROOT_USER, 'watch_names.py', of, 'sh', '-ec', CHANGES, 'sh', changed).trim().split('\n')
        const natively = watch(places.native, places.native)
        expect(natively).toContain('. create new')
        expect(natively).toContain('. modify clone')
        expect(watch(places.mounted, places.mounted)).toEqual(natively)
        twins.expectSame('watched')
      })

      test('inotify on the mount sees nothing of changes below it; on the source it sees those through the mount', async () => {
        await using twins = await startTwins('xfs', passthrough ? {} : { passthrough: false })
        const { mounted, source } = twins.make('watched')
        fs.mkdirSync(path.join(source, 'inner'))
        const watch = (of: string, changed: string, name: string) => {
          const change = `echo new > "$1/${name}"; mv "$1/${name}" "$1/inner/"`
          return runPython(ROOT_USER, 'watch_names.py', of, 'sh', '-ec', change, 'sh', changed)
        }
        expect(watch(mounted, source, 'below')).toBe('')
        const seen = watch(source, mounted, 'above').trim().split('\n')
        expect(seen).toEqual(expect.arrayContaining(['. create above', '. modify above', 'inner moved_to above']))
        expect(fs.readdirSync(path.join(mounted, 'inner')).sort()).toEqual(['above', 'below'])
      })

      test('no handle of a file can be had that could be opened', async () => {
        await using twins = await startTwins('xfs', passthrough ? {} : { passthrough: false })
        const { mounted, source } = twins.make('handles')
        fs.writeFileSync(path.join(source, 'file'), 'bytes')
        const ask = (place: string) => runPython(ROOT_USER, 'handles.py', path.join(place, 'file')).trim().split('\n')
        expect(ask(source)[0]).toBe('for opening: works, works')
        const [opening, telling] = ask(mounted)
        expect(opening).toBe('for opening: ENOTSUP, -')
        // Such a handle, which fanotify gives, only tells files apart. Kernels before 6.5 know none.
        expect(telling).toMatch(/^for telling apart: (works, (ENOTSUP|ESTALE)|ENOTSUP, -|EINVAL, -)$/)
      })
    },
  )

/** Defines `watch`, an inotify of changes to the file at `path`, and `told(watch)`: whether it has told of one. */
const WATCH = `
libc = ctypes.CDLL(None)
IN_MODIFY = 2
watch = libc.inotify_init1(os.O_NONBLOCK)
assert libc.inotify_add_watch(watch, path.encode(), IN_MODIFY) > 0
def told(watch):
    try:
        return len(os.read(watch, 4096)) > 0
    except BlockingIOError:
        return False`

describeWith(['root', 'loop', 'fuse', 'xfs', 'program:python3', 'passthrough'], 'who follows a clone', () => {
  test.each([
    ['that is equal to its home learns its new length alone, until he opens it anew', [], false],
    ['sees what is appended, with strict consistency', ['--consistency', 'strict'], true],
  ] as const)('%s', async (_, args, isSeen) => {
    await using xfs = await loopFilesystem('xfs')
    const size = MEBIBYTE
    writeSynced(`${xfs.path}/original`, noise(size, 1))
    clone(`${xfs.path}/original`, `${xfs.path}/clone`)
    await using mount = await mounted(xfs.path, { args: [...args] })
    const path = `${mount.path}/clone`
    await using follower = startClient()
    await follower.run('f = os.open(path, os.O_RDONLY); os.pread(f, 4096, 0)', { path })
    await follower.run(WATCH)
    fs.appendFileSync(path, 'a line')
    expect(await follower.value('os.fstat(f).st_size')).toBe(size + 6)
    expect(await follower.value('os.pread(f, 6, size).decode()', { size })).toBe(isSeen ? 'a line' : '')
    expect(await follower.value('told(watch)')).toBe(isSeen)
    await follower.run('os.close(f); f = os.open(path, os.O_RDONLY)')
    expect(await follower.value('os.pread(f, 6, size).decode()')).toBe('a line')
    await follower.run('os.close(f)')
  })
})
