/**
 * The demonstration: the same files read natively and through Samepage, and what that costs each time.
 *
 *     make the files → natively: cold, hot → empty the cache → mount → cold, hot → compare every byte → remove all
 */
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Cleanup } from './cleanup.ts'
import { type FileKind, FileSet, type FileSetOptions } from './file-set.ts'
import { chooseGround, type Ground } from './ground.ts'
import { availableBytes, deviceCounter, freeBytes, pageCacheBytes } from './measure.ts'
import { type MountProcess, startMount } from './mount-process.ts'
import { cachedBytes, Reader } from './reading.ts'
import { CannotError, keepDirectory } from './scratch.ts'

const MEBIBYTE = 2 ** 20
const SIZE = 512 * MEBIBYTE
const CLONES = 16
/** Part of its pages that a diverged clone has rewritten. */
const REWRITTEN_PART = 0.01
/** The part of the machine's free memory that the files, read natively, may take; the rest is for what else it does. */
const MEMORY_PART = 0.75
/** The set where clones are full copies. */
const COPIES = { size: 64 * MEBIBYTE, clones: 4 } as const

interface DemoOptions {
  /** A directory to work in, instead of a file system of its own. */
  readonly on?: string
  /** Bytes of the image; undefined: 512 MiB, or less where natively read clones would not fit into memory. */
  readonly size?: number
  readonly clones?: number
  readonly seed: number
  /** Leave the files where they are. */
  readonly keep: boolean
  /** How to start this program, before its arguments. */
  readonly program: readonly string[]
  /** Further options of the mount command. */
  readonly mountOptions?: readonly string[]
  readonly progress: Progress
  /** Asked while the files are mounted and have been read; the answer stands in the report. */
  readonly whileMounted?: (demo: Mounted) => Promise<unknown>
}

/** Told of what is being done, for a progress bar. */
export interface Progress {
  begin(what: string, bytes: number): void
  add(bytes: number): void
  end(): void
}

export interface Mounted {
  readonly set: FileSet
  readonly ground: Ground
  readonly mount: MountProcess
  /** Page cache that the files have taken since before the mount, and memory of the daemon; bytes. */
  readonly held: () => Held
}

/** Memory in bytes; all of it was free or used by others when the files were cold. */
interface Held {
  /** What the kernel holds of files. */
  readonly pageCache: number
  readonly daemon: number
  /** By how much free memory went down: the two above, and all else. */
  readonly notFree: number
}

export interface FileTimes {
  readonly name: string
  readonly kind: FileKind
  readonly coldSeconds: number
  readonly hotSeconds: number
}

/** One way of reading all files. */
export interface WayReport {
  readonly held: Held
  /** Page cache of the files themselves, without homes; exact, but 0 before Linux 6.5. */
  readonly fileBytes: number
  /** Bytes read from the device; null where that cannot be told. */
  readonly deviceBytes: number | null
  readonly coldSeconds: number
  readonly hotSeconds: number
  readonly files: readonly FileTimes[]
}

/** Schema 1. Sizes in bytes. */
export interface DemoReport {
  readonly schema: 1
  readonly set: FileSetOptions & { readonly files: number; readonly totalBytes: number; readonly uniqueBytes: number }
  readonly ground: { readonly description: string; readonly howCold: string; readonly clones: boolean }
  readonly notes: readonly string[]
  readonly native: WayReport
  readonly samepage: WayReport
  readonly verifiedBytes: number
  /** Files that did not read as they were written. Never any, one hopes. */
  readonly wrongFiles: readonly string[]
  /** Where the files were left; null: removed. */
  readonly kept: { readonly directory: string; readonly removal: string } | null
  readonly whileMounted?: unknown
}

/** Throws a {@link CannotError} where this machine can't. All that it makes is undone by `cleanup`, which the caller runs. */
export async function runDemo(options: DemoOptions, cleanup: Cleanup): Promise<DemoReport> {
  const { progress, seed } = options
  const clones = options.clones ?? CLONES
  const wanted = options.size ?? affordableSize(clones)
  const ground = chooseGround(options.on, wanted, cleanup)
  const notes = [...ground.notes]
  const shape = ground.hasReflinks ? { size: wanted, clones } : { ...COPIES, ...given(options) }
  const checkRoom = (bytesOnDisk: number) => {
    if (ground.room < 1.5 * bytesOnDisk)
      throw new CannotError(`${ground.description} has not enough room for the files: --size makes them smaller`)
  }
  // Before it is decided which of its pages are rewritten: that takes memory and time, and more of both the larger it is.
  checkRoom(shape.size)
  const set = new FileSet({ ...shape, rewritten: REWRITTEN_PART, seed })
  if (ground.hasReflinks && options.size === undefined && wanted < SIZE)
    notes.push(`The image is smaller than ${SIZE / MEBIBYTE} MiB, so that memory holds all clones read natively.`)
  checkRoom(ground.hasReflinks ? set.uniqueBytes : set.totalBytes)
  const reader = new Reader(cleanup)

  // What is missing for a mount is better said now than after half a minute.
  const mountSource = () =>
    startMount(options.program, ground.source, ground.mountpoint, options.mountOptions ?? [], cleanup)
  const trial = await mountSource()
  trial.stop()

  progress.begin('making the files', set.totalBytes)
  await set.write(ground.source, cleanup, async (bytes) => {
    progress.add(bytes)
    await turn()
  })
  progress.end()

  ground.makeCold(set)
  // Asked anew each time: what is mounted again may have got another loop device.
  const start = stateNow(deviceCounter(ground.source))
  const native = await readAll(reader, set, ground.source, ground.source, 'natively', start, () => 0, progress)

  ground.makeCold(set)
  const before = stateNow(deviceCounter(ground.source))
  const mount = await mountSource()
  const samepage = await readAll(
    reader,
    set,
    ground.mountpoint,
    ground.source,
    'through Samepage',
    before,
    mount.memory,
    progress,
  )

  progress.begin('comparing every byte', set.totalBytes)
  const wrongFiles = await reader.verify(set, ground.mountpoint, (bytes) => progress.add(bytes))
  progress.end()

  const held = () => heldSince(before, mount.memory())
  const whileMounted = await options.whileMounted?.({ set, ground, mount, held })
  mount.stop()
  if (options.keep) {
    keepDirectory(ground.directory)
    cleanup.cancel()
  }
  return {
    schema: 1,
    set: { ...set.options, files: set.files.length, totalBytes: set.totalBytes, uniqueBytes: set.uniqueBytes },
    ground: { description: ground.description, howCold: ground.howCold, clones: ground.hasReflinks },
    notes,
    native,
    samepage,
    verifiedBytes: set.totalBytes,
    wrongFiles,
    kept: options.keep ? { directory: ground.source, removal: ground.removal } : null,
    ...(whileMounted === undefined ? {} : { whileMounted }),
  }
}

/** Reads every file once, and then once more. */
async function readAll(
  reader: Reader,
  set: FileSet,
  directory: string,
  /** Where the files themselves lie. */
  below: string,
  way: string,
  before: State,
  daemonBytes: () => number,
  progress: Progress,
): Promise<WayReport> {
  const pass = async (what: string): Promise<number[]> => {
    progress.begin(`${way}, ${what}`, set.totalBytes)
    const seconds: number[] = []
    for (const { name } of set.files)
      seconds.push(await reader.read(path.join(directory, name), (bytes) => progress.add(bytes)))
    progress.end()
    return seconds
  }
  const cold = await pass('cold')
  const hot = await pass('hot')
  return {
    held: heldSince(before, daemonBytes()),
    fileBytes: cachedBytes(set, below),
    deviceBytes: before.device === undefined ? null : before.device.now() - before.device.bytes,
    coldSeconds: sum(cold),
    hotSeconds: sum(hot),
    files: set.files.map(({ name, kind }, i) => ({ name, kind, coldSeconds: cold[i]!, hotSeconds: hot[i]! })),
  }
}

/** The machine before a measurement. */
interface State {
  readonly pageCache: number
  readonly free: number
  readonly device: { readonly bytes: number; readonly now: () => number } | undefined
}

function stateNow(device: (() => number) | undefined): State {
  return {
    pageCache: pageCacheBytes(),
    free: freeBytes(),
    device: device === undefined ? undefined : { bytes: device(), now: device },
  }
}

function heldSince(before: State, daemon: number): Held {
  return {
    pageCache: Math.max(0, pageCacheBytes() - before.pageCache),
    daemon,
    notFree: Math.max(0, before.free - freeBytes()),
  }
}

/** The default size, or what fits into memory `clones + 1` times. */
function affordableSize(clones: number): number {
  const fits = (availableBytes() * MEMORY_PART) / (clones + 1)
  return Math.min(SIZE, Math.max(8 * MEBIBYTE, Math.floor(fits / MEBIBYTE) * MEBIBYTE))
}

function given({ size, clones }: DemoOptions): { size?: number; clones?: number } {
  return { ...(size === undefined ? {} : { size }), ...(clones === undefined ? {} : { clones }) }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)
