/**
 * As whom a thread works with files, and what it may. Linux keeps these for each thread by itself; only the C library makes a process of them, for
 * setgroups and the like, so those are called without it.
 */
import os from 'node:os'
import { check, errnoOf, libc, type Pointer } from './native.ts'

const setfsuidCall = libc<[uid: number]>('setfsuid', 'int', ['uint'])
const setfsgidCall = libc<[gid: number]>('setfsgid', 'int', ['uint'])
const setgroupsCall = libc<[number: number, count: number, groups: Pointer]>('syscall', 'long', [
  'long',
  'long',
  'void*',
])
const getgroupsCall = libc<[count: number, groups: Pointer]>('getgroups', 'int', ['int', 'void*'])
const umaskCall = libc<[mask: number]>('umask', 'uint', ['uint'])
const capgetCall = libc<[header: Pointer, data: Pointer]>('capget', 'int', ['void*', 'void*'])
const capsetCall = libc<[header: Pointer, data: Pointer]>('capset', 'int', ['void*', 'void*'])
const unshareCall = libc<[flags: number]>('unshare', 'int', ['int'])

const CLONE_FS = 0x200
const SYS_SETGROUPS = os.arch() === 'arm64' ? 159 : 116
const GROUPS_MAX = 65_536
/** Who owns nothing. */
const NOBODY = 65_534

const CAP_DAC_OVERRIDE = 1
const CAP_SYS_RESOURCE = 24
const CAP_MKNOD = 27
/** By which somebody may create what, and where, he otherwise may not. */
export const CAPS_CREATING = (1 << CAP_DAC_OVERRIDE) | (1 << CAP_MKNOD)
/** A struct __user_cap_header_struct: version 3, this thread. */
const capHeader = Uint32Array.of(0x20080522, 0)
/** Two of struct __user_cap_data_struct, for capabilities below 32 and from there on: effective, permitted, inheritable. */
const CAP_DATA_WORDS = 6

/** The user as whom this thread creates files. Other than 0, the thread loses the privileges over files, and with 0 it gets them back. */
export function setFsUid(uid: number): void {
  setfsuidCall(uid)
}

export function setFsGid(gid: number): void {
  setfsgidCall(gid)
}

/** The supplementary groups of this thread alone: 0 or -errno. */
export function setThreadGroups(groups: Uint32Array): number {
  return errnoOf(setgroupsCall(SYS_SETGROUPS, groups.length, groups))
}

export function threadGroups(): Uint32Array {
  const groups = new Uint32Array(GROUPS_MAX)
  return groups.slice(0, check(getgroupsCall(groups.length, groups), 'getgroups'))
}

/** Sets the umask of this thread, which has one of its own: see {@link ownUmask}. Nothing is called where it is the one that was set last. */
export function setUmask(mask: number): void {
  if (mask !== umask) umaskCall(mask)
  umask = mask
}
/** This thread's, as each thread has modules of its own; -1: not known. */
let umask = -1

/** From now on this thread has an umask (and a working directory) of its own. Throws a SystemError. */
export function ownUmask(): void {
  check(unshareCall(CLONE_FS), 'unshare')
}

/**
 * This thread, and those that it starts from now on, can no longer go beyond what is set as a limit: quotas among others, which a file system forgets for who has
 * the capability. Nothing happens where it is not there.
 */
export function giveUpResources(): void {
  const data = capabilities()
  for (const word of [0, 1, 2]) data[word]! &= ~(1 << CAP_SYS_RESOURCE)
  capsetCall(capHeader, data)
}

/** Gives this thread those of `mask` (capabilities below 32) back that it lost with its user, until it changes that again. Of what it may not have nothing is given. */
export function raiseCapabilities(mask: number): void {
  const data = capabilities()
  data[0]! |= mask & data[1]!
  capsetCall(capHeader, data)
}

/**
 * Runs `call` with all that this thread may, but as nobody: who is root is given the blocks, too, that ext4 keeps for root. Of a privileged process
 * only.
 */
export function asNobody<T>(call: () => T): T {
  const data = capabilities()
  try {
    setFsUid(NOBODY)
    // With the user go the privileges over files.
    capsetCall(capHeader, data)
    return call()
  } finally {
    setFsUid(0)
  }
}

function capabilities(): Uint32Array {
  const data = new Uint32Array(CAP_DATA_WORDS)
  check(capgetCall(capHeader, data), 'capget')
  return data
}
