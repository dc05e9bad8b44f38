/**
 * A tree with everything in it looks through the mount as it does natively: to root and to other users, by names, attributes,
 * all ways of reading, and the errors of what goes wrong. The native side is a read-only bind mount of the source.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { forgetCached, run } from '../support/files.ts'
import { type LoopFilesystem, type LoopKind, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, type MountFlags, mounted } from '../support/mounted.ts'
import {
  differences,
  makeTree,
  type Observation,
  observe,
  PYTHON,
  probe,
  runAs,
  USERS,
  type User,
} from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

const MEBIBYTE = 2 ** 20
const KINDS: readonly LoopKind[] = ['xfs', 'btrfs', 'ext4']

/** How a mount can be asked to serve; what writing does the torture test compares. Files from 64 KiB on are looked at for what they share. */
const WAYS: Record<string, MountFlags> = {
  'with passthrough': { readOnly: true, minShare: '64K' },
  'through the daemon': { readOnly: true, minShare: '64K', passthrough: false },
  'without homes, nothing cached': { readOnly: true, homes: false, passthrough: false, timeout: 0 },
}

const REQUIRED = ['root', 'loop', 'fuse', 'program:python3', 'program:setfacl', 'program:rsync'] as const

const LIST_ATTRIBUTES = 'import os, sys; print(os.listxattr(sys.argv[1]))'

for (const kind of KINDS) {
  describeWith([...REQUIRED, kind], `a tree on ${kind} through the mount`, () => {
    let filesystem: LoopFilesystem
    let source = ''
    let view = ''

    beforeAll(async () => {
      filesystem = await loopFilesystem(kind, { size: 512 * MEBIBYTE })
      source = `${filesystem.path}/tree`
      view = `${filesystem.directory}/view`
      fs.mkdirSync(source)
      fs.mkdirSync(view)
      makeTree(source, kind !== 'ext4')
      run('mount', '--bind', source, view)
      run('mount', '-o', 'remount,bind,ro,nosuid,nodev', view)
    })
    afterAll(() => filesystem?.[Symbol.asyncDispose]())

    function observeNatively(user: User): Observation {
      // SEEK_DATA takes what is cached of unwritten blocks for data.
      forgetCached(`${source}/sizes/unwritten`)
      const natively = observe(user, view)
      forgetCached(`${source}/sizes/unwritten`)
      return natively
    }

    for (const [way, flags] of Object.entries(WAYS)) {
      describe(way, () => {
        let mount: Mounted
        beforeAll(async () => {
          mount = await mounted(source, { flags })
        })
        afterAll(() => mount?.[Symbol.asyncDispose]())

        for (const user of flags.homes === false ? USERS.slice(0, 1) : USERS) {
          test(`${user.name} sees the same`, () => {
            const natively = observeNatively(user)
            expect(Object.keys(natively).length).toBeGreaterThan(700)
            expect(differences(natively, observe(user, mount.path))).toEqual([])
          })

          test(`${user.name} gets the same answers where calls fail`, () => {
            const natively = probe(user, view)
            const ours = probe(user, mount.path)
            expect(Object.keys(natively).length).toBeGreaterThan(250)
            for (const [name, answer] of Object.entries(natively)) {
              // A file system that is read-only says so before it looks at permissions, a mount that is read-only afterwards.
              if (answer === 'EACCES' && ours[name] === 'EROFS' && /^open to|^truncate/.test(name))
                natively[name] = 'EROFS'
            }
            // btrfs shows the names of trusted attributes to everybody.
            const uncommon = kind === 'btrfs' ? /^epoll:|^names that are shown/ : /^epoll:/
            // Every FUSE file can be waited for, files of other file systems can't.
            expect(differences(natively, ours).filter((difference) => !uncommon.test(difference))).toEqual([])
            expect(ours).toMatchObject({ 'open to write: sizes/4097': 'EROFS', 'unknown ioctl': 'ENOTTY' })
          })
        }

        test('and the same again when the kernel remembers names and attributes', () => {
          expect(differences(observeNatively(USERS[0]!), observe(USERS[0]!, mount.path))).toEqual([])
        })

        test('rsync finds nothing to do', () => {
          const changes = run(
            'rsync',
            '-aHAXn',
            '--checksum',
            '--delete',
            '--exclude=/sizes/huge',
            '--itemize-changes',
            `${view}/`,
            `${mount.path}/`,
          )
          expect(changes).toBe('')
          // It would have, if there were anything.
          expect(run('rsync', '-an', '--itemize-changes', `${view}/`, `${mount.path}/sizes/`)).not.toBe('')
        })

        test('birth times are those of the files below', () => {
          const births = (directory: string) =>
            run('sh', '-c', `cd ${directory} && find . -print0 | sort -z | xargs -0 stat -c '%w %n'`)
          expect(births(mount.path)).toBe(births(view))
          expect(births(view)).toMatch(/^\d{4}-/)
        })

        test('only administrators are shown trusted attributes', () => {
          const names = (user: User) => runAs(user, PYTHON, '-c', LIST_ATTRIBUTES, `${mount.path}/attributes/user`)
          expect(names(USERS[0]!)).toContain('trusted.secret')
          expect(names(USERS[1]!)).not.toContain('trusted.secret')
          expect(names(USERS[1]!)).toContain('user.text')
        })

        test('free space is that of the file system', () => {
          const space = (directory: string) => {
            const { type, ...rest } = fs.statfsSync(directory)
            return rest
          }
          // Homes come and go meanwhile.
          for (let attempt = 1; ; attempt++) {
            const [before, ours, after] = [space(view), space(mount.path), space(view)]
            if (JSON.stringify(before) !== JSON.stringify(after) && attempt < 10) continue
            expect(ours).toEqual(after)
            break
          }
        })

        test('programs run', () => {
          const names = ['programs/true', 'programs/cat', 'programs/script']
          if (kind !== 'ext4') names.push('clones/true', 'clones/cat', 'clones/true-diverged', 'clones/cat-diverged')
          for (const name of names) {
            const { status, stdout } = spawnSync(`${mount.path}/${name}`, { input: 'copied', encoding: 'utf8' })
            expect(status, name).toBe(0)
            expect(stdout, name).toBe(name.endsWith('script') ? 'run\n' : name.includes('cat') ? 'copied' : '')
          }
          expect(spawnSync(`${mount.path}/sizes/4097`).error?.message).toContain('EACCES')
        })

        test('nothing stays open, no request failed for a defect', async () => {
          const { files, workers } = await mount.status()
          expect(files.open).toBe(0)
          expect(workers).toMatchObject({ restarts: 0, failures: 0 })
        })
      })
    }
  })
}
