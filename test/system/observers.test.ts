/** What others see of the mount: inotify of what is changed through it; file handles, by which NFS servers find files, are refused. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { clone, MEBIBYTE, noise, writeSynced } from '../support/files.ts'
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
