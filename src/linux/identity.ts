/**
 * As whom a thread creates files. Linux keeps these for each thread by itself; only the C library makes a process of them, for
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
const unshareCall = libc<[flags: number]>('unshare', 'int', ['int'])

const CLONE_FS = 0x200
const SYS_SETGROUPS = os.arch() === 'arm64' ? 159 : 116
const GROUPS_MAX = 65_536

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
