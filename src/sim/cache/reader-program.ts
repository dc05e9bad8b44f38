/** What a thread that reads does: opens a file, reads, looks at it by views, closes it, again and again. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { ExclusionReader } from '../../cache/grants/exclusion.ts'
import type { Pins } from '../../cache/pins.ts'
import { CachedFile } from '../../library/cached-file.ts'
import type { Door } from '../../library/door.ts'
import type { LayoutHandle } from '../../library/layout.ts'
import type { FileContext } from '../../library/open-file.ts'
import type { PageReader } from '../../library/page-reader.ts'
import type { View } from '../../library/view.ts'
import type { SimFile } from './files.ts'
import type { Program, ReaderThread } from './reader-thread.ts'
import type { Request, World } from './world.ts'

/** Thrown where the cache would ask the keeper. */
const MISSED = new Error('not in memory')

const MISSING_DOOR = {
  now: {
    layoutSync: () => {
      throw MISSED
    },
    loadSync: () => {
      throw MISSED
    },
  },
} as unknown as Door

/** Bytes that a read asks for; fewer than a page, and they may lie in two. */
const READ_BYTES = 2

/** As many as a thread can pin. */
export const VIEWS_MAX = 3

interface OpenView {
  readonly view: View
  /** -1: none, the page is zeros. */
  readonly frame: number
  bytes: number[]
}

/** The program of one thread. */
export function* life(world: World, thread: ReaderThread, reader: PageReader, pins: Pins): Program {
  const { random } = world
  const exclusion = new ExclusionReader(world.cache)
  const ownPins = new InterruptiblePins(pins, thread)
  const context = {
    reader,
    pins: ownPins as unknown as Pins,
    door: MISSING_DOOR,
    isDebug: false,
  } as unknown as FileContext
  while (!world.isEnding) {
    if (random.chance(0.2)) world.moveReader(reader.lookup)
    const file = random.pick(world.files)
    const node = world.anyNode()
    let layout = yield* ask(world, thread, file, 'open', node)
    const views: OpenView[] = []
    let page = random.pick(file.pages)
    for (let reads = random.between(1, 12); reads > 0 && !world.isEnding; reads--) {
      if (random.chance(0.4)) page = random.pick(file.pages)
      const isHit: boolean = random.chance(0.6)
        ? yield* read(world, thread, context, file, layout, page)
        : yield* look(world, thread, context, ownPins, file, layout, page, views)
      if (!isHit && world.hasGrants && random.chance(0.7)) yield* readPast(world, thread, exclusion, file, layout, page)
      if (!isHit && random.chance(0.7)) layout = yield* ask(world, thread, file, 'load', node, page)
      for (const open of views) yield* checkView(thread, open)
      if (views.length === VIEWS_MAX || (views.length > 0 && random.chance(0.3))) close(world, thread, views.shift()!)
    }
    for (const open of views) close(world, thread, open)
    // Views outlive the file that they are of: the keeper may forget it before they are closed.
    yield* ask(world, thread, file, 'close', node)
  }
  yield* thread.call(() => thread.once(() => thread.processor.flush()))
}

/** Pins are stored, and slots taken, once only. */
class InterruptiblePins {
  /** Pinned last. */
  frame = -1
  readonly #pins: Pins
  readonly #thread: ReaderThread

  constructor(pins: Pins, thread: ReaderThread) {
    this.#pins = pins
    this.#thread = thread
  }

  get free(): number {
    return this.#thread.once(() => this.#pins.free)
  }

  pin(frame: number): number {
    this.frame = frame
    return this.#thread.once(() => this.#pins.pin(frame))
  }

  unpin(slot: number): void {
    this.#thread.once(() => this.#pins.unpin(slot))
  }
}

/** Waits for the keeper's answer: how the file is served then. */
function* ask(
  world: World,
  thread: ReaderThread,
  file: SimFile,
  kind: Request['kind'],
  node: number,
  page = 0,
): Generator<void, LayoutHandle, void> {
  const request: Request = { kind, thread, file, page, node }
  world.requests.push(request)
  while (request.answer === undefined) yield
  return request.answer
}

/** A read with a copy; false: it was not in memory. */
function* read(
  world: World,
  thread: ReaderThread,
  context: FileContext,
  file: SimFile,
  layout: LayoutHandle,
  page: number,
): Generator<void, boolean, void> {
  const { truth, counts, random } = world
  // The next page need not be one that the file has in this simulation.
  const next = file.pages.includes(page + 1)
  const offset = next ? random.pick([0, 4094, 4095]) : random.pick([0, 4094])
  const buffer = new Uint8Array(READ_BYTES)
  const begin = truth.now
  thread.processor.synchronize()
  const count = yield* thread.call(() =>
    openFile(context, layout).tryRead(buffer, { position: page * PAGE_BYTES + offset }),
  )
  if (count === undefined) {
    counts.misses++
    return false
  }
  if (count !== READ_BYTES) throw new Error(`${count} bytes were read`)
  const within = Math.min(READ_BYTES, PAGE_BYTES - offset)
  truth.check(file.name, page, offset, buffer.subarray(0, within), begin, truth.now)
  world.grants.checkFound(file, page, begin)
  if (within < READ_BYTES) truth.check(file.name, page + 1, 0, buffer.subarray(within), begin, truth.now)
  counts.hits++
  return true
}

/** A read past the cache, as a thread does it that does not wait for the keeper. */
function* readPast(
  world: World,
  thread: ReaderThread,
  exclusion: ExclusionReader,
  file: SimFile,
  layout: LayoutHandle,
  page: number,
): Generator<void, void, void> {
  const { truth, disk, counts } = world
  const begin = truth.now
  thread.processor.synchronize()
  const halves = yield* thread.call(() => exclusion.read(layout.mapping, page, page + 1, () => disk.read(file, page)))
  if (halves === undefined) return
  truth.checkHalves(file.name, page, halves, begin, truth.now)
  world.grants.checkFound(file, page, begin)
  counts.past++
}

/** A view, which is put into `views`; false: it was not in memory. */
function* look(
  world: World,
  thread: ReaderThread,
  context: FileContext,
  pins: InterruptiblePins,
  file: SimFile,
  layout: LayoutHandle,
  page: number,
  views: OpenView[],
): Generator<void, boolean, void> {
  const { truth, counts } = world
  const begin = truth.now
  thread.processor.synchronize()
  let view: View
  try {
    view = yield* thread.call(() => openFile(context, layout).viewSync(page * PAGE_BYTES, READ_BYTES))
  } catch (error) {
    if (error !== MISSED) throw error
    counts.misses++
    return false
  }
  const end = truth.now
  const open: OpenView = { view, frame: view.isPinned ? pins.frame : -1, bytes: [] }
  hold(world, thread, open)
  open.bytes = yield* bytesOf(thread, view)
  truth.check(file.name, page, 0, open.bytes, begin, end)
  world.grants.checkFound(file, page, begin)
  views.push(open)
  counts.views++
  return true
}

function openFile(context: FileContext, layout: LayoutHandle): CachedFile {
  return new CachedFile(context, '', false, { id: 0, fd: -1, key: '', layout })
}

function* bytesOf(thread: ReaderThread, view: View): Generator<void, number[], void> {
  return yield* thread.call(() => [view.parts[0]![0]!, view.parts[0]![1]!])
}

/** The keeper gives the frame to nobody from now on. */
function hold(world: World, thread: ReaderThread, { frame }: OpenView): void {
  if (frame < 0) return
  const threads = world.viewed.get(frame) ?? []
  world.viewed.set(frame, [...threads, thread])
}

function close(world: World, thread: ReaderThread, { view, frame }: OpenView): void {
  const threads = world.viewed.get(frame) ?? []
  const at = threads.indexOf(thread)
  if (at >= 0) threads.splice(at, 1)
  view.dispose()
}

function* checkView(thread: ReaderThread, { view, bytes }: OpenView): Generator<void, void, void> {
  const now = yield* bytesOf(thread, view)
  if (String(now) !== String(bytes)) throw new Error(`a view showed ${bytes}, and ${now} later`)
}
