/**
 * Making views: frames found, pinned, and looked at again, all of them or none.
 *
 * What is missing is loaded by windows, and only what is. A range that cannot be in memory as a whole, or of which there are more pages than pins, becomes one copy, as a read makes it: to load it for a
 * view would push everything else out of the cache, and itself in the end.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { FOUND } from '../cache/lookup.ts'
import type { OpenFile } from './open-file.ts'
import { unpinAll, View } from './view.ts'

/** The view that most are: of bytes that lie in one page, and that is in memory. */
export function viewPage(file: OpenFile, position: number, length: number): View | undefined {
  const { reader, pins, isDebug } = file.context
  const { lookup } = reader
  const layout = file.layout
  const page = Math.floor(position / PAGE_BYTES)
  const within = position - page * PAGE_BYTES
  if (within + length > PAGE_BYTES || !lookup.isWhole(layout.mapping, page) || isDebug) return undefined
  const frame = reader.find(layout, page)
  if (frame < 0) return undefined
  const { generation } = lookup
  const slot = pins.pin(frame)
  if (slot < 0) return undefined
  if (lookup.isStill(frame, generation) && lookup.layoutOf(layout.mapping) === layout.version) {
    const bytes = reader.arena.bytes(frame)
    return new View([partOf(bytes, within, length)], [slot], pins, false)
  }
  pins.unpin(slot)
  return undefined
}

/** Whether as many pages can be in memory, and be pinned, at once. */
export function mayFit(file: OpenFile, position: number, length: number): boolean {
  return pagesOf(file, position, length) <= file.context.reader.lookup.framesLimit
}

/** A view, or the number of bytes before the first page that is missing; undefined where there will be none, for too few pins are left or nothing is cached of the file. */
export function viewPages(file: OpenFile, position: number, length: number): View | number | undefined {
  if (file.isPast(position) || pagesOf(file, position, length) > file.context.pins.free) return undefined
  const { reader, pins, isDebug } = file.context
  const layout = file.layout
  const count = reader.clip(layout, position, length)
  const parts: Uint8Array[] = []
  const slots: number[] = []
  const done = collect(file, position, count, parts, slots)
  if (done < count) {
    unpinAll(pins, slots)
    return done
  }
  const view = new View(isDebug ? parts.map((part) => part.slice()) : parts, slots, pins, isDebug)
  if (reader.lookup.layoutOf(layout.mapping) === layout.version) return view
  view.dispose()
  return 0
}

function pagesOf(file: OpenFile, position: number, length: number): number {
  const count = file.context.reader.clip(file.layout, position, length)
  return Math.ceil((position + count) / PAGE_BYTES) - Math.floor(position / PAGE_BYTES)
}

/** The parts of a view, and the slots that they are pinned by: how many bytes, up to the first page that is missing. */
function collect(file: OpenFile, position: number, count: number, parts: Uint8Array[], slots: number[]): number {
  const { reader, pins } = file.context
  const layout = file.layout
  let done = 0
  while (done < count) {
    const page = Math.floor((position + done) / PAGE_BYTES)
    const within = position + done - page * PAGE_BYTES
    const bytes = Math.min(PAGE_BYTES - within, count - done)
    const frame = reader.find(layout, page)
    if (frame === FOUND.NOTHING) return done
    const { generation } = reader.lookup
    const slot = frame >= 0 ? pins.pin(frame) : -1
    if (slot >= 0 && !reader.lookup.isStill(frame, generation)) {
      // It has gone since it was found: look again.
      pins.unpin(slot)
      continue
    }
    if (slot >= 0) parts.push(partOf(reader.arena.bytes(frame), within, bytes))
    else {
      const copy = new Uint8Array(bytes)
      // What lies on a device is copied: who keeps bytes for too long is to read wrong ones at worst, not to end the process.
      const isCopied =
        frame === FOUND.ZERO || (frame === FOUND.DIRECT && reader.copyDirect(layout, page, within, copy, 0, bytes))
      if (!isCopied) return done
      parts.push(copy)
    }
    slots.push(slot)
    done += bytes
  }
  return done
}

/** Of a whole page no new object is made. */
function partOf(page: Uint8Array, from: number, count: number): Uint8Array {
  return count === PAGE_BYTES ? page : page.subarray(from, from + count)
}

/** Of bytes that are nobody else's. */
export function copiedView(file: OpenFile, bytes: Uint8Array): View {
  return new View([bytes], [-1], file.context.pins, file.context.isDebug)
}
