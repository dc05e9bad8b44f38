/**
 * Windows: places in the process's address space that show the bytes of a file, or of nothing, and are never taken away.
 *
 * Whoever reads through a window at a wrong time reads other bytes, or zeros, but never ends the process: a window that is closed shows zeros from then on, in one step, and its
 * place is used for another. So nobody needs to be waited for. What is mapped must not be cut short: what was cut off ends the process when it is touched.
 *
 * A process has a limited number of mappings (`vm.max_map_count`), and to close a window may take one more: one that cannot be closed shows what it did, until there is room.
 *
 * Places are aligned so that the kernel can map a device's memory by huge pages. Context: any thread opens and closes windows of its own, and views those of all.
 */
import { mapFileAt, mapNothing, mapNothingAt, PROT } from './mapping.ts'
import { HUGE_PAGE_BYTES, viewMemory } from './memory.ts'

const ALIGN_BYTES_MIN = HUGE_PAGE_BYTES

interface Window {
  readonly address: number
  /** Of the place; what is mapped there may be shorter. */
  readonly capacity: number
}

/** Places that show nothing now, by capacity and alignment. */
const free = new Map<string, Window[]>()
/** Windows that could not be closed yet. */
let unclosed: (readonly [window: Window, align: number])[] = []

/** A window on the first `bytes` of what `fd` is open on, for reading; undefined where the system has no place for it, or will not map it. */
export function openWindow(fd: number, bytes: number, alignBytes = ALIGN_BYTES_MIN): Window | undefined {
  closeUnclosed()
  const align = Math.max(alignBytes, ALIGN_BYTES_MIN)
  const capacity = 2 ** Math.ceil(Math.log2(Math.max(bytes, align)))
  const window = placesOf(capacity, align).pop() ?? newPlace(capacity, align)
  if (window === undefined) return undefined
  if (mapFileAt(window.address, fd, 0, bytes, PROT.READ) === window.address) return window
  // Else the kernel may have taken the place away, and given it to somebody else by now: it is forgotten.
  if (showNothing(window)) placesOf(capacity, align).push(window)
  return undefined
}

/** From now on it shows zeros, until its place is used again; where the system has no room for that, from one of the next calls of this module on. `alignBytes` as it was opened with. */
export function closeWindow(window: Window, alignBytes = ALIGN_BYTES_MIN): void {
  unclosed.push([window, Math.max(alignBytes, ALIGN_BYTES_MIN)])
  closeUnclosed()
}

function closeUnclosed(): void {
  unclosed = unclosed.filter(([window, align]) => {
    if (!showNothing(window)) return true
    placesOf(window.capacity, align).push(window)
    return false
  })
}

const showNothing = ({ address, capacity }: Window): boolean => mapNothingAt(address, capacity) === address

/** The bytes of a window, as {@link viewMemory} gives them. */
export function viewWindow({ address, capacity }: Window): Uint8Array[] {
  return viewMemory(address, capacity)
}

function placesOf(capacity: number, align: number): Window[] {
  const key = `${capacity}:${align}`
  const places = free.get(key) ?? []
  free.set(key, places)
  return places
}

function newPlace(capacity: number, align: number): Window | undefined {
  const address = mapNothing(capacity + align)
  return address < 0 ? undefined : { address: Math.ceil(address / align) * align, capacity }
}
