/**
 * What a test needs from the machine it runs on, and what is missing here.
 *
 * Some needs can be met on any build machine by installing a package or running as root: those are *provided*,
 * and where `CI=true` a missing one is an error, so that no green run hides tests that never ran. Others belong to
 * the machine (a second NUMA node, a newer kernel): without them a test is skipped and its name says why.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, test } from 'vitest'
import { isKernelOlder } from '../../src/linux/kernel-version.ts'
import { readNodes } from '../../src/linux/numa.ts'
import { whyNoMemoryCgroups } from './cgroups.ts'
import { whyNoGuest } from './guest-kernel.ts'
import { postgresDirectory } from './postgres.ts'
import { ROOT } from './sources.ts'

/** The compiled program and library. */
export const BUILT = process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist')

interface Need {
  /** May `.ci/run` be expected to provide it? */
  provided: boolean
  /** Why the need is not met, or undefined if it is. */
  reason(): string | undefined
}

const NEEDS = {
  /** Root with CAP_SYS_ADMIN: loop devices, mounts, FUSE passthrough. */
  root: { provided: true, reason: () => (isPrivileged() ? undefined : 'not root, or without CAP_SYS_ADMIN') },
  /** The kernel's loop devices, see loopfs.ts. */
  loop: {
    provided: true,
    reason: () => (fs.existsSync('/dev/loop-control') ? withoutProgram('losetup') : 'no /dev/loop-control'),
  },
  xfs: { provided: true, reason: () => withoutProgram('mkfs.xfs') ?? withoutFilesystem('xfs') },
  btrfs: { provided: true, reason: () => withoutProgram('mkfs.btrfs') ?? withoutFilesystem('btrfs') },
  ext4: { provided: true, reason: () => withoutProgram('mkfs.ext4') ?? withoutFilesystem('ext4') },
  /** What tests with threads run: Node.js 20 does not take the TypeScript of src/. `npm test` has compiled it. */
  build: { provided: true, reason: () => missingFile(path.join(BUILT, 'index.js')) },
  /** The kernel's header of the FUSE protocol; Debian has it in libc6-dev's dependencies. */
  'fuse-header': { provided: true, reason: () => missingFile('/usr/include/linux/fuse.h') },
  fuse: { provided: true, reason: () => (canOpen('/dev/fuse') ? undefined : '/dev/fuse cannot be opened') },
  'guest-kernel': { provided: process.arch === 'x64', reason: whyNoGuest },
  postgresql: {
    provided: true,
    reason: () => (postgresDirectory() === undefined ? 'no PostgreSQL server' : undefined),
  },
  'xfs-realtime': {
    provided: false,
    reason: () => (hasXfsRealtime() ? undefined : 'the kernel is built without CONFIG_XFS_RT'),
  },
  /** FUSE passthrough came with Linux 6.9. */
  passthrough: { provided: false, reason: () => olderThan(6, 9) },
  /** cachestat(2) came with Linux 6.5. */
  cachestat: { provided: false, reason: () => olderThan(6, 5) },
  /** A kernel built with CONFIG_NUMA, be there one node only. */
  'numa-policies': {
    provided: false,
    reason: () => (fs.existsSync('/proc/self/numa_maps') ? undefined : 'the kernel is built without CONFIG_NUMA'),
  },
  numa: {
    provided: false,
    reason: () => (fs.existsSync('/sys/devices/system/node/node1') ? undefined : 'one NUMA node only'),
  },
  'one-node': {
    provided: false,
    reason: () =>
      readNodes().filter(({ bytes }) => bytes > 0).length > 1 ? 'several NUMA nodes have memory' : undefined,
  },
  /** See cgroups.ts. */
  'memory-cgroup': { provided: false, reason: whyNoMemoryCgroups },
} as const satisfies Record<string, Need>

/** A row of the table above, a program that must be on the PATH, e.g. `program:bindfs`, or the oldest kernel that will do, e.g. `linux:6.13`. */
export type Requirement = keyof typeof NEEDS | `program:${string}` | `linux:${number}.${number}`

/**
 * The needs that this machine does not meet, each with its reason; empty where everything is there.
 * Throws instead where `CI=true` and a *provided* need is missing. A machine that cannot have one says so by
 * `SAMEPAGE_CI_WITHOUT=btrfs,fuse`.
 */
export function requires(...requirements: Requirement[]): string[] {
  const accepted = (process.env.SAMEPAGE_CI_WITHOUT ?? '').split(',')
  const missing: string[] = []
  for (const requirement of requirements) {
    const { provided, reason } = needOf(requirement)
    const why = reason()
    if (why === undefined) continue
    if (provided && process.env.CI === 'true' && !accepted.includes(requirement)) {
      throw new Error(`this test must run in CI but needs ${requirement}: ${why}`)
    }
    missing.push(`${requirement}: ${why}`)
  }
  return missing
}

/** `describe`, skipped where a requirement is missing; the name of the skipped block then says which. */
export function describeWith(requirements: readonly Requirement[], name: string, body: () => void): void {
  const missing = requires(...requirements)
  if (missing.length === 0) describe(name, body)
  else describe.skip(`${name} [needs ${missing.join('; ')}]`, body)
}

/** Likewise `test`. */
export function testWith(requirements: readonly Requirement[], name: string, body: () => void | Promise<void>): void {
  const missing = requires(...requirements)
  if (missing.length === 0) test(name, body)
  else test.skip(`${name} [needs ${missing.join('; ')}]`, body)
}

/** Where a program lies, searching the administrator's directories too: they are often not on a user's PATH. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin']
  return directories.map((directory) => path.join(directory, name)).find(isExecutable)
}

function needOf(requirement: Requirement): Need {
  const program = requirement.startsWith('program:') ? requirement.slice('program:'.length) : undefined
  if (program !== undefined) return { provided: true, reason: () => withoutProgram(program) }
  const kernel = /^linux:(\d+)\.(\d+)$/.exec(requirement)
  if (kernel !== null) return { provided: false, reason: () => olderThan(Number(kernel[1]), Number(kernel[2])) }
  const need = NEEDS[requirement as keyof typeof NEEDS]
  if (need === undefined) throw new Error(`unknown requirement '${requirement}'`)
  return need
}

function withoutProgram(name: string): string | undefined {
  return findProgram(name) === undefined ? `no program ${name}` : undefined
}

function missingFile(name: string): string | undefined {
  return fs.existsSync(name) ? undefined : `no ${name}`
}

function withoutFilesystem(name: string): string | undefined {
  // A file system built as a module is listed only once it is loaded.
  if (!knowsFilesystem(name)) spawnSync('modprobe', [name], { stdio: 'ignore' })
  return knowsFilesystem(name) ? undefined : `the kernel has no ${name}`
}

/** What the kernel says of its own build; a kernel that says nothing is taken for one without. */
function hasXfsRealtime(): boolean {
  const { stdout } = spawnSync('sh', ['-c', 'zcat /proc/config.gz || cat /boot/config-$(uname -r)'], {
    encoding: 'utf8',
  })
  return /^CONFIG_XFS_RT=y$/m.test(stdout ?? '')
}

function knowsFilesystem(name: string): boolean {
  return fs
    .readFileSync('/proc/filesystems', 'utf8')
    .split('\n')
    .some((line) => line.split('\t').at(-1) === name)
}

function isPrivileged(): boolean {
  const CAP_SYS_ADMIN = 21n
  const status = fs.readFileSync('/proc/self/status', 'utf8')
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  return process.getuid?.() === 0 && ((effective >> CAP_SYS_ADMIN) & 1n) === 1n
}

function canOpen(device: string): boolean {
  try {
    fs.closeSync(fs.openSync(device, 'r+'))
    return true
  } catch {
    return false
  }
}

function isExecutable(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK)
    return fs.statSync(file).isFile()
  } catch {
    return false
  }
}

function olderThan(major: number, minor: number): string | undefined {
  return isKernelOlder(major, minor) ? `Linux ${os.release()} is older than ${major}.${minor}` : undefined
}
