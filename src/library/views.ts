/** Making views: frames found, pinned, and looked at again. What cannot be pinned is copied where the caller insists. */
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

/** Undefined where a page is missing; with `force` such pages are copies. Throws what reading them throws. */
export function viewPages(file: OpenFile, position: number, length: number, force: boolean): View | undefined {
  const { reader, pins, isDebug } = file.context
  const layout = file.layout
  const count = reader.clip(layout, position, length)
  const parts: Uint8Array[] = []
  const slots: number[] = []
  try {
    if (!collect(file, position, count, force, parts, slots)) {
      unpinAll(pins, slots)
      return undefined
    }
  } catch (error) {
    // What reading throws has a code. The simulation throws something else, to go on here later, and with these pins.
    if ((error as NodeJS.ErrnoException).code !== undefined) unpinAll(pins, slots)
    throw error
  }
  const view = new View(isDebug ? parts.map((part) => part.slice()) : parts, slots, pins, isDebug)
  if (reader.lookup.layoutOf(layout.mapping) === layout.version) return view
  view.dispose()
  if (!force) return undefined
  const copy = new Uint8Array(count)
  return copiedView(file, copy.subarray(0, file.readPast(copy, 0, count, position)))
}

/** The parts of a view, and the slots that they are pinned by; false where a page is missing. */
function collect(
  file: OpenFile,
  position: number,
  count: number,
  force: boolean,
  parts: Uint8Array[],
  slots: number[],
): boolean {
  const { reader, pins } = file.context
  const layout = file.layout
  for (let done = 0; done < count; ) {
    const page = Math.floor((position + done) / PAGE_BYTES)
    const within = position + done - page * PAGE_BYTES
    const bytes = Math.min(PAGE_BYTES - within, count - done)
    const frame = reader.find(layout, page)
    if (frame === FOUND.NOTHING && !force) return false
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
      if (frame < 0 && !isCopied && !force) return false
      parts.push(isCopied ? copy : copy.subarray(0, file.readPast(copy, 0, bytes, position + done)))
    }
    slots.push(slot)
    // The file has been cut short meanwhile: what comes next would lie at a wrong place.
    if (parts[parts.length - 1]!.length < bytes) return force
    done += bytes
  }
  return true
}

/** Of a whole page no new object is made. */
function partOf(page: Uint8Array, from: number, count: number): Uint8Array {
  return count === PAGE_BYTES ? page : page.subarray(from, from + count)
}

/** Of bytes that are nobody else's. */
export function copiedView(file: OpenFile, bytes: Uint8Array): View {
  return new View([bytes], [-1], file.context.pins, file.context.isDebug)
}
