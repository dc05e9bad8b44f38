/** The usual programs at work through the mount: what comes of it is what comes of it natively. */
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from '../support/files.ts'
import type { LoopKind } from '../support/loopfs.ts'
import { makeTree, PYTHON, pythonProgram } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'
import { startTwins, type Twins, treeDifferences } from '../support/twins.ts'

const WAYS: readonly { kind: LoopKind; passthrough: boolean }[] = [
  { kind: 'xfs', passthrough: true },
  { kind: 'xfs', passthrough: false },
  { kind: 'btrfs', passthrough: true },
]

const PROGRAMS = ['git', 'npm', 'rsync', 'tar', 'make', 'gcc', 'python3'].map((name) => `program:${name}` as const)

for (const { kind, passthrough } of WAYS)
  describeWith(
    ['root', 'loop', 'fuse', kind, ...PROGRAMS],
    `on ${kind}, ${passthrough ? 'with passthrough' : 'through the daemon'},`,
    () => {
      let twins: Twins
      beforeAll(async () => {
        twins = await startTwins(kind, passthrough ? {} : { passthrough: false })
      })
      afterAll(() => twins?.[Symbol.asyncDispose]())

      test('git: many files in some commits, a clone, gc, fsck, and a rebase', () => {
        const { native, mounted } = twins.make('git')
        const results = [native, mounted].map((place) => workWithGit(place))
        expect(results[1]).toEqual(results[0])
        // What git remembers of inodes and of the time differs.
        twins.expectSame('git', '.git', 'bare')
      })

      if (kind === 'xfs')
        test('npm ci', () => {
          const { native, mounted } = twins.make('npm')
          for (const place of [native, mounted]) {
            for (const name of ['package.json', 'package-lock.json'])
              fs.copyFileSync(path.join(ROOT, name), path.join(place, name))
            const flags = ['--omit=dev', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
            run('npm', 'ci', '--prefix', place, ...flags)
          }
          twins.expectSame('npm')
          const program = "import { Command } from 'commander'; console.log(new Command('works').name())"
          fs.writeFileSync(path.join(mounted, 'program.mjs'), program)
          expect(run(process.execPath, path.join(mounted, 'program.mjs'))).toBe('works\n')
        })

      if (kind === 'xfs')
        test('make: a C program is built, runs, and is built again where it has changed', () => {
          const { native, mounted } = twins.make('make')
          const results = [native, mounted].map((place) => {
            run(PYTHON, pythonProgram('make_project.py'), place, '24')
            const make = () =>
              run('make', '-C', place, '-j4', 'program')
                .split('\n')
                .filter((line) => /^(compiling|linking)/.test(line))
            const first = make().length
            const nothing = make().length
            fs.appendFileSync(path.join(place, 'include/unit7.h'), '#define ANOTHER 1\n')
            return { first, nothing, again: make().sort(), printed: run(path.join(place, 'program')) }
          })
          expect(results[1]).toEqual(results[0])
          expect(results[0]).toMatchObject({ first: 27, nothing: 0, again: { length: 3 } })
          twins.expectSame('make')
        })

      test('rsync and tar: a tree with everything in it, into the mount and out of it', () => {
        const { native, mounted, source } = twins.make('copies')
        const at = (place: string, name: string) => path.join(place, name)
        fs.mkdirSync(at(native, 'tree'))
        makeTree(at(native, 'tree'), true)
        // A hole of terabytes, which both programs would read.
        fs.rmSync(at(native, 'tree/sizes/huge'))
        const archive = (from: string, to: string) =>
          run('tar', '--acls', '--xattrs', '--xattrs-include=*', '--sparse', '-C', from, '-cf', to, '.')
        const extract = (from: string, to: string) => {
          fs.mkdirSync(to)
          run('tar', '--acls', '--xattrs', '--xattrs-include=*', '--same-owner', '-C', to, '-xpf', from)
        }
        const copy = (from: string, to: string) => run('rsync', '-aHAX', `${from}/`, `${to}/`)

        copy(at(native, 'tree'), at(mounted, 'rsynced'))
        archive(at(native, 'tree'), at(mounted, 'tree.tar'))
        extract(at(mounted, 'tree.tar'), at(mounted, 'extracted'))
        archive(at(mounted, 'extracted'), at(native, 'back.tar'))
        extract(at(native, 'back.tar'), at(native, 'extracted'))
        copy(at(mounted, 'rsynced'), at(native, 'rsynced'))

        // tar(1) leaves sockets out.
        for (const place of [source, mounted, native])
          for (const name of ['rsynced', 'extracted'])
            expect(
              treeDifferences(at(native, 'tree'), at(place, name), ...(name === 'rsynced' ? [] : ['--exclude=socket'])),
              at(place, name),
            ).toEqual([])
      })
    },
  )

/** Returns all that git says in the end. */
function workWithGit(place: string): Record<string, string> {
  const env = {
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_SYSTEM: '/dev/null',
    ...Object.fromEntries(
      ['AUTHOR', 'COMMITTER'].flatMap((who) => [
        [`GIT_${who}_NAME`, 'n'],
        [`GIT_${who}_EMAIL`, 'e'],
        [`GIT_${who}_DATE`, '@1700000000 +0000'],
      ]),
    ),
  }
  const git = (directory: string, ...args: string[]) =>
    run(
      'env',
      ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
      'git',
      '-C',
      path.join(place, directory),
      '-c',
      'init.defaultBranch=main',
      ...args,
    )
  const write = (name: string, text: string) => fs.writeFileSync(path.join(place, 'work', name), text)

  git('.', 'init', 'work')
  for (let commit = 0; commit < 4; commit++) {
    for (let i = 0; i < 100; i++) {
      fs.mkdirSync(path.join(place, 'work', `d${i % 20}`), { recursive: true })
      write(`d${i % 20}/f${i}`, `${i} in ${commit}\n`.repeat(1 + ((i * 37) % 200)))
    }
    if (commit === 2) fs.rmSync(path.join(place, 'work/d3'), { recursive: true })
    git('work', 'add', '--all')
    git('work', 'commit', '-m', `commit ${commit}`)
  }
  git('work', 'checkout', '-b', 'side', 'HEAD~2')
  write('new', 'on the side\n')
  git('work', 'add', 'new')
  git('work', 'commit', '-m', 'side')
  git('work', 'rebase', 'main')
  git('work', 'mv', 'd5', 'moved')
  git('work', 'commit', '-m', 'moved')
  git('.', 'clone', '--no-local', 'work', 'clone')
  git('.', 'clone', '--bare', 'work', 'bare')
  for (const repository of ['work', 'clone', 'bare']) git(repository, 'gc', '--quiet', '--prune=now')
  git('work', 'worktree', 'add', '../tree', 'main')
  const said: Record<string, string> = {}
  for (const repository of ['work', 'clone', 'bare']) {
    said[`${repository}: fsck`] = git(repository, 'fsck', '--full', '--strict')
    said[`${repository}: objects`] = git(repository, 'rev-list', '--all', '--objects')
  }
  for (const repository of ['work', 'clone', 'tree'])
    said[`${repository}: status`] = git(repository, 'status', '--porcelain')
  return said
}
