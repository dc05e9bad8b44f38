/**
 * The door to the C library: every system call of Samepage goes through a function declared with {@link libc}.
 *
 * Variadic C functions (`syscall`, `ioctl`, `fcntl`, `open`) are declared with the fixed argument list that one
 * caller needs; on the ABIs supported here (x86-64 and arm64 Linux) a variadic call passes integers and
 * pointers exactly as a fixed one does, and koffi calls a fixed prototype several times faster.
 *
 * Functions declared here return what C returns. {@link errnoOf} turns "-1 and errno" into a negative errno
 * without allocating, for hot paths; {@link check} turns it into a {@link SystemError}, for all others.
 *
 * Context: any thread. A call blocks the calling thread; `.async(...)` of a declared function runs on the libuv pool.
 */
import os from 'node:os'
import koffi from 'koffi'
import { SystemError } from './errors.ts'

type CType = 'int' | 'uint' | 'long' | 'int64' | 'uint64' | 'size_t' | 'void*' | 'const char*' | 'void'

/** What may stand for a C pointer: memory that JavaScript owns, an address, or NULL. */
export type Pointer = ArrayBufferView | ArrayBuffer | SharedArrayBuffer | bigint | number | null

/** A declared C function: call it, or run it on the libuv thread pool with `.async(..., callback)`. */
export interface NativeFunction<Args extends unknown[], Result> {
  (...args: Args): Result
  async(...args: [...Args, (error: Error | null, result: Result) => void]): void
}

const library = loadLibc()

function loadLibc(): ReturnType<typeof koffi.load> {
  try {
    return koffi.load('libc.so.6')
  } catch {
    // musl's C library goes by this name.
    return koffi.load('libc.so')
  }
}

/** Declares the C function `name`; the caller states the TypeScript types that go with the C ones. */
export function libc<Args extends unknown[], Result = number>(
  name: string,
  result: CType,
  args: CType[],
): NativeFunction<Args, Result> {
  return library.func(name, result, args) as unknown as NativeFunction<Args, Result>
}

/** A C result as "value or -errno", which koffi keeps per thread and call: nothing is allocated, nothing thrown. */
export function errnoOf(result: number): number {
  return result === -1 ? -koffi.errno() : result
}

/** A C result, or a thrown {@link SystemError} naming the call and, where there is one, the path. */
export function check(result: number, syscall: string, path?: string): number {
  if (result === -1) throw new SystemError(koffi.errno(), syscall, path)
  return result
}

/** Runs a declared function on the libuv pool; rejects with a {@link SystemError} on -1. */
export function callAsync<Args extends unknown[]>(
  fn: NativeFunction<Args, number>,
  syscall: string,
  path: string | undefined,
  ...args: Args
): Promise<number> {
  return new Promise((resolve, reject) => {
    inCalls.add(args)
    fn.async(...args, (error, result) => {
      inCalls.delete(args)
      if (error) reject(error)
      // koffi restores the call's errno for its callback.
      else if (result === -1) reject(new SystemError(koffi.errno(), syscall, path))
      else resolve(result)
    })
  })
}

/** What calls under way were given, so that it stays where it is. */
const inCalls = new Set<unknown>()

/** Bytes of a C `char *` string, NUL-terminated. */
export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`)
}

/** Numbers of system calls that the C library has no wrapper for; the same on every architecture since 424. */
export const SYS = {
  open_tree: 428,
  move_mount: 429,
  close_range: 436,
  openat2: 437,
  mount_setattr: 442,
  cachestat: 451,
} as const

if (os.endianness() !== 'LE') throw new Error('Samepage supports little-endian machines only')

/** The address of memory that JavaScript owns; valid while the view is referenced, and a local variable that nobody reads any more is no reference: see {@link whileHeld}. */
export function addressOf(view: ArrayBufferView): bigint {
  return BigInt(koffi.address(view))
}

/** Makes a call that is given `memory` by addresses alone, which the garbage collector does not see: it would take the memory away before or during the call. */
export function whileHeld<T>(memory: readonly ArrayBufferView[], call: () => T): T {
  inCalls.add(memory)
  try {
    return call()
  } finally {
    inCalls.delete(memory)
  }
}

/** Ends the process at once, also while threads are inside system calls that `process.exit` would wait for. */
export function exitNow(status: number): never {
  exitCall(status)
  throw new Error('_exit returned')
}
const exitCall = libc<[status: number], undefined>('_exit', 'void', ['int'])
