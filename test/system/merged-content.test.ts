/**
 * `--merge content`: files that share no storage and have equal bytes are in memory once, and what is read through the mount is what the source has, whoever changes it.
 */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const SIZE = 8 * MEBIBYTE
/** A younger file is passed through. */
const SETTLED_MS = 60
const MERGE = ['--merge', 'content', '--memory', '64MiB', '--merge-cpu', '100%']

for (const kind of ['ext4', 'xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', kind], `merged content on ${kind}`, () => {
    let filesystem: LoopFilesystem
    let mount: Mounted
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
      mount = await mounted(filesystem.path, { args: MERGE })
    })
    afterAll(async () => {
      await mount?.[Symbol.asyncDispose]()
      await filesystem?.[Symbol.asyncDispose]()
    })

    test('two copies that share no storage take the memory of one', async () => {
      const bytes = noise(SIZE, 1)
      writeSynced(`${filesystem.path}/one`, bytes)
      writeSynced(`${filesystem.path}/two`, bytes)
      await sleep(SETTLED_MS)
      expect(fs.readFileSync(`${mount.path}/one`).equals(bytes)).toBe(true)
      expect(fs.readFileSync(`${mount.path}/two`).equals(bytes)).toBe(true)
      await eventually(async () => {
        const { merge } = await mount.status()
        expect(merge).toMatchObject({ pagesShared: SIZE / PAGE, pagesSharing: SIZE / PAGE, bytesSaved: SIZE })
        expect(merge!.pageBytes).toBe(SIZE)
      })
    })
  })
